"""ppema doctor: whether this installation works, as a table for a report of a fault."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ppema.cli.common import add_json, print_json, run, say
from ppema.cli.pasted.again import launched

if TYPE_CHECKING:
    from ppema.diagnosis.finding import Finding

_EXAMPLE = "configs/digits_cnn.yml"


def main(argv: Sequence[str] | None = None, prog: str = "ppema doctor") -> int:
    """Run the command, and return its exit code: 0 no check failed, 1 one failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""
    made = argparse.ArgumentParser(
        prog=prog,
        description="Check this installation: Paddle, the device, and what ppema computes there. It takes less than a minute, "
        "and a few more if ppema's C++ operations have to be compiled. It writes to a temporary folder only.",
    )
    made.add_argument("--device", type=_device, default="auto", help="cpu, gpu, gpu:N or auto (default)")
    add_json(made)

    def doctor(arguments: argparse.Namespace) -> int:
        with _until_sigterm():
            return _doctor(arguments, launched(argv, prog))

    return run(doctor, made, argv)


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|gpu(:(0|[1-9][0-9]{0,3}))?", text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, gpu or gpu:N, got {text!r}")
    return text


def _doctor(arguments: argparse.Namespace, command: Sequence[str]) -> int:
    from ppema.diagnosis.checklist import CHECKS

    found: dict[str, Finding] = {}
    width = max(len(check.name) for check in CHECKS)
    with closing(_findings(arguments)) as findings:
        for name, finding in findings:
            found[name] = finding
            say(f"{name:<{width}}  {finding.result:<7}  {finding.detail}")
    failed = [name for name, finding in found.items() if finding.result == "failed"]
    verdict, advice = _verdict(found, failed), _advice(failed, command)
    say(f"verdict: {verdict}\nnext: {advice}")
    if arguments.json:
        checks = [{"name": name, "result": finding.result, "detail": finding.detail} for name, finding in found.items()]
        print_json({"device": arguments.device, "checks": checks, "verdict": verdict, "next": advice})
    return int(bool(failed))


def _findings(arguments: argparse.Namespace) -> Generator[tuple[str, Finding]]:
    from ppema.diagnosis.apart import examined
    from ppema.diagnosis.checklist import CHECKS
    from ppema.diagnosis.finding import Finding
    from ppema.diagnosis.installed import installed

    yield from installed()
    try:
        made = tempfile.TemporaryDirectory(prefix="ppema-doctor-", ignore_cleanup_errors=True)
    except OSError as error:
        yield "temporary files", Finding("failed", f"there is no folder for them: {error}: set TMPDIR")
        return
    with made as folder, closing(examined(CHECKS, arguments.device, Path(folder), show=arguments.debug)) as examinations:
        for check, finding in examinations:
            yield check.name, finding


def _verdict(found: dict[str, Finding], failed: Sequence[str]) -> str:
    if failed:
        return f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}"
    counts = Counter(finding.result for finding in found.values())
    return f"no check failed: {', '.join(f'{number} {result}' for result, number in sorted(counts.items()))}"


def _advice(failed: Sequence[str], command: Sequence[str]) -> str:
    if failed:
        return (
            f"do what the row {failed[0]!r} says; if that does not help, report this table, and what "
            f"{shlex.join([*command, '--debug'])} prints"
        )
    train = [*command[:-1], re.sub(r"doctor(\.py)?$", r"train\1", command[-1])]
    return f"train: {shlex.join([*train, '-c', _EXAMPLE if os.path.exists(_EXAMPLE) else 'CONFIG'])}"


@contextmanager
def _until_sigterm() -> Iterator[None]:
    """A context that SIGTERM leaves as an exception does: processes and temporary files end with it."""

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main(prog="python -m ppema.cli.doctor"))
