"""ppema checkpoint: list the checkpoints of a run, verify them, compare two, and delete superfluous ones."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ppema.cli.common import add_debug, add_json, print_json, print_table, run, say
from ppema.errors import escaped


def main(argv: Sequence[str] | None = None, prog: str = "ppema checkpoint") -> int:
    """Run the command, and return its exit code: 0 done, 1 a checkpoint could not be deleted, 2 bad input or damage."""
    made = argparse.ArgumentParser(prog=prog, description="List, verify, compare and prune the checkpoints of a run.")
    commands = made.add_subparsers(dest="command", required=True, metavar="list|verify|diff|prune")
    listing = commands.add_parser("list", help="the checkpoints of a run, and the pointers to them")
    listing.add_argument("run", type=Path, help="a run's output folder, or its checkpoints folder")
    verify = commands.add_parser("verify", help="read every file and compare it with its checksum")
    verify.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="a run's output folder, or a checkpoint's folder")
    diff = commands.add_parser("diff", help="the norms of every variable that differs between two checkpoints")
    for name in ("a", "b"):
        diff.add_argument(
            name, type=Path, help="a checkpoint's folder, a file last or best, or a run's output folder (its last checkpoint)"
        )
    diff.add_argument("--all", action="store_true", help="show equal variables too")
    prune = commands.add_parser("prune", help="delete all but the newest checkpoints, the last and the best ones")
    prune.add_argument("run", type=Path, help="a run's output folder")
    prune.add_argument("--keep", type=_count, required=True, metavar="N", help="the number of newest checkpoints to keep")
    prune.add_argument(
        "--keep-every",
        type=_count,
        metavar="STEPS",
        help="also keep the first checkpoint of every interval of this length, except the first interval",
    )
    prune.add_argument("--dry-run", action="store_true", help="list the checkpoints to delete, and delete none")
    for each in (listing, verify, diff, prune):
        add_json(each)
        add_debug(each, argparse.SUPPRESS)
    return run(_checkpoint, made, argv)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)


def _checkpoint(arguments: argparse.Namespace) -> int:
    command = {"list": _list, "verify": _verify, "diff": _diff, "prune": _prune}[arguments.command]
    return command(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from ppema.checkpoint.inspect import entries, folder_of_run

    found = entries(folder_of_run(arguments.run))
    rows = [
        (each.path.name, "-" if each.epoch is None else each.epoch, f"{each.size / 2**20:.2f}", ", ".join(each.named))
        for each in found
    ]
    print_table(("checkpoint", "epoch", "MiB", "named"), rows)
    for each in found:
        if each.fault:
            say(each.fault)
    if arguments.json:
        fields = ("step", "epoch", "size", "named", "fault")
        print_json([{"path": str(each.path), **{field: getattr(each, field) for field in fields}} for each in found])
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ppema.checkpoint.folder import MANIFEST
    from ppema.checkpoint.inspect import check, check_pointers, entries, folder_of_run

    found: dict[str, list[str]] = {}
    for path in arguments.paths:
        if os.path.exists(path / MANIFEST):
            found[str(path)] = check(path)
            continue
        folder = folder_of_run(path)
        faults = {each.path: check(each.path) for each in entries(folder)}
        found |= {str(each): lines for each, lines in faults.items()}
        found[str(folder)] = check_pointers(folder, [each.name for each, lines in faults.items() if lines])
    for path, faults in found.items():
        for line in faults or [f"{path}: intact"]:
            say(escaped(line))
    if arguments.json:
        print_json(found)
    return 2 if any(found.values()) else 0


def _diff(arguments: argparse.Namespace) -> int:
    from ppema.checkpoint.checkpoint import Checkpoint
    from ppema.checkpoint.inspect import differences
    from ppema.checkpoint.store import checkpoint_of

    # The comparison reads and checks every file.
    found = list(differences(*(checkpoint_of(path, Checkpoint.open) for path in (arguments.a, arguments.b))))
    shown = sorted((each for each in found if arguments.all or not each.equal), key=lambda each: -each.relative)
    rows = [(each.part, each.name, *map(_figure, (each.norm_a, each.norm_b, each.distance, each.relative))) for each in shown]
    if rows:
        print_table(("part", "variable", "‖A‖", "‖B‖", "‖A-B‖", "‖A-B‖/‖A‖"), rows)
    equal = sum(each.equal for each in found)
    print(f"{equal} of {len(found)} variables are equal, bit for bit")
    if arguments.json:
        fields = ("part", "name", "norm_a", "norm_b", "distance", "equal")
        print_json([{field: getattr(each, field) for field in fields} for each in found])
    return 0


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _prune(arguments: argparse.Namespace) -> int:
    from ppema.checkpoint.inspect import folder_of_run
    from ppema.checkpoint.links import check_no_link
    from ppema.checkpoint.lock import locked
    from ppema.checkpoint.store import Checkpoints

    folder = folder_of_run(arguments.run)
    check_no_link(folder)
    # The path is made absolute, because the name "." has no parent.
    with locked(Path(os.path.abspath(folder)).parent):
        checkpoints = Checkpoints(folder, keep=arguments.keep, keep_every=arguments.keep_every)
        gone = checkpoints.superfluous()
        if not arguments.dry_run:
            checkpoints.prune()
    left = [] if arguments.dry_run else [path for path in gone if path.exists()]
    for path in gone:
        say(f"{path}: {'would be deleted' if arguments.dry_run else 'could not be deleted' if path in left else 'deleted'}")
    print(f"{len(gone) - len(left)} checkpoints {'would be' if arguments.dry_run else 'were'} deleted")
    if arguments.json:
        print_json([str(path) for path in gone if path not in left])
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.checkpoint"))
