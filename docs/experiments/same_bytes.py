"""Compares two commits: do the same runs end with the same bytes, and does AFTER read what BEFORE wrote?

    python docs/experiments/same_bytes.py BEFORE AFTER [--python PYTHON ...]

Both commits train `configs/digits_cnn.yml`, `configs/digits_posthoc.yml` and the run of the kill test, on one thread, each in
its own temporary git worktree. AFTER then evaluates, resumes and averages the run of BEFORE. Arrays are compared bit for bit,
metrics by their printed digits. The table has one row per comparison. Each Python takes a few minutes, most of them for the
840 checkpoints of the kill test. TMPDIR=/dev/shm keeps these in memory, which is faster.

The script uses command lines and files only, so the modules of the two commits may differ in any way. Both commits use the
kill test's config of BEFORE, and the modules that it names: a user's own files stay when ppema is updated. Uncommitted
changes are ignored. Exit code 0: all is the same; 1: something differs, or a tool failed; 2: bad input.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import deserialize

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ("digits_cnn", "digits_posthoc")
KILL_TEST = "test_killed"
# The only figures of metrics.jsonl that depend on the machine and its load.
TIMES = ("samples_per_second", "data_wait", "seconds", "memory_mib")
SIGMA_REL = "0.07,0.2"
SHOWN = 5


class InputError(Exception):
    """One line for the user."""


class ToolError(Exception):
    """One line: which tool of which commit, and the end of its stderr."""


class Array(NamedTuple):
    """An array of a safetensors file, of any dtype."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


Values = Mapping[str, "Array | str"]


def arrays(folder: Path) -> dict[str, Array]:
    """All arrays of the safetensors files below `folder`, by the path of the file and their name."""
    return {
        f"{path.relative_to(folder)}: {name}": Array(found["dtype"], tuple(found["shape"]), bytes(found["data"]))
        for path in sorted(folder.rglob("*.safetensors"))
        for name, found in deserialize(path.read_bytes())
    }


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """Each number, text and null of a JSON value, as JSON text (so that NaN equals NaN), by its dotted path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            name: leaf for key, below in items for name, leaf in leaves(below, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: json.dumps(value)}


def differences(before: Values, after: Values) -> list[str]:
    """A line for each name of which the values differ, and for each that only one of the two has."""
    lines = []
    for name in dict.fromkeys([*before, *after]):
        if name not in before or name not in after:
            lines.append(f"{name}: only {'before' if name in before else 'after'}")
        elif before[name] != after[name]:
            lines.append(f"{name}: {_difference(before[name], after[name])}")
    return lines


def _difference(before: Array | str, after: Array | str) -> str:
    if isinstance(before, Array) and isinstance(after, Array) and before[:2] == after[:2]:
        differing = sum(a != b for a, b in zip(before.data, after.data, strict=True))
        return f"{differing} of {len(before.data)} bytes differ"
    return f"{before} before, {after} after"


def records(run: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of metrics.jsonl by kind, without times. Between kinds the order may vary: checkpoints have a thread."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        kinds.setdefault(record["kind"], []).append({key: value for key, value in record.items() if key not in TIMES})
    return kinds


def pointers(run: Path) -> dict[str, str]:
    """The folders that `last` and each `best` name."""
    folder = run / "checkpoints"
    return {path.name: path.read_text().split()[0] for path in sorted([folder / "last", *folder.glob("best*")])}


def kill_config(root: Path) -> str:
    """The text of the kill test's config in the checkout `root`: killed.yml, or CONFIG in the test of commits before 0.2.0.

    Raises InputError where there is none.
    """
    for path in (root / "tests").rglob("killed.yml"):
        return path.read_text(encoding="utf-8")
    for path in (root / "tests").rglob(f"{KILL_TEST}.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONFIG":
                return ast.literal_eval(node.value)
    raise InputError("tests: no killed.yml")


@dataclass(frozen=True)
class Side:
    """One commit, by the Python that runs it. modules: the folder of the modules that configs name."""

    name: str
    root: Path
    python: str
    modules: Path

    def tool(self, name: str, config: Path, output: Path, *arguments: str) -> Any:
        """The JSON that a tool prints. Raises ToolError."""
        print(f"... {output.parent.name}: tools/{name}.py of {self.name}", file=sys.stderr, flush=True)
        command = [self.python, str(self.root / f"tools/{name}.py"), "-c", str(config), "--json", *arguments]
        command += ["-o", f"output={output}", "-o", "runtime.threads=1"]
        environment = os.environ | {"PYTHONPATH": str(self.modules)}
        done = subprocess.run(command, cwd=output.parent, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["nothing on stderr"]
            raise ToolError(f"tools/{name}.py of {self.name} ended with {done.returncode}: {said[-1]}")
        try:
            return json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise ToolError(f"tools/{name}.py of {self.name} printed no JSON") from None


@dataclass(frozen=True)
class Pair:
    """A config before and after, the two commits, and the folder in which they run it."""

    before: Side
    after: Side
    configs: tuple[Path, Path]
    folder: Path

    def comparisons(self) -> Iterator[tuple[str, Values, Values]]:
        """What is compared, before, and after: as soon as it is there. Raises ToolError."""
        (old, new), run, other = self.configs, self.folder / "before", self.folder / "after"
        self.before.tool("train", old, run)
        self.after.tool("train", new, other)
        yield "arrays of checkpoints and snapshots", arrays(run), arrays(other)
        yield "checkpoints that last and best name", pointers(run), pointers(other)
        yield "records of metrics.jsonl", leaves(records(run)), leaves(records(other))
        copy = shutil.copytree(run, self.folder / "read")
        for pointer in pointers(run):
            measured = self.before.tool("eval", old, run, "--checkpoint", pointer)
            again = self.after.tool("eval", new, copy, "--checkpoint", pointer)
            yield f"metrics of {pointer} of BEFORE, evaluated", leaves(measured), leaves(again)
        yield self._resumed(run, copy)
        if (run / "snapshots").is_dir():
            built = self.before.tool("average", old, run, "--sigma-rel", SIGMA_REL)
            again = self.after.tool("average", new, copy, "--sigma-rel", SIGMA_REL)
            yield (
                "averages of the snapshots of BEFORE",
                arrays(run / "averages") | leaves({**built, "files": len(built["files"])}),
                arrays(copy / "averages") | leaves({**again, "files": len(again["files"])}),
            )

    def _resumed(self, run: Path, copy: Path) -> tuple[str, Values, Values]:
        """The end of `run`, and that of AFTER when it goes on from a checkpoint of `copy`: the middle one of those kept."""
        kept = sorted((copy / "checkpoints").glob("step-*"))
        begin, resumed = kept[(len(kept) - 1) // 2], self.folder / "resumed"
        self.after.tool("train", self.configs[1], resumed, "--resume", str(begin))
        first, second = (
            arrays(each / "checkpoints" / pointers(each)["last"]) | leaves(records(each)["eval"][-1]) for each in (run, resumed)
        )
        return f"end of BEFORE, resumed at {begin.name}", first, second


def git(*arguments: str) -> str:
    """What git prints. Raises InputError with the line in which it says what is wrong."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError((done.stderr.strip().splitlines() or [f"git {arguments[0]} failed"])[-1])
    return done.stdout.strip()


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of `commit` at `folder`, until the end of the block."""
    try:
        git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield folder
    finally:
        # There is none where git failed to make it. Twice forced: one that was interrupted while it was made is locked.
        with suppress(InputError):
            git("worktree", "remove", "--force", "--force", str(folder))


def commit_of(text: str) -> str:
    """The full name of the commit that `text` means. Raises InputError."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    except InputError:
        raise InputError(f"{text}: no commit of {ROOT}") from None


def python_of(text: str) -> tuple[str, str]:
    """The path of the Python that `text` means, and the version of its Paddle. Raises InputError."""
    path = shutil.which(text)
    if path is None:
        raise InputError(f"--python {text}: no program of this name")
    # Not resolved: a virtual environment is known by the place of the link.
    path = os.path.abspath(path)
    done = subprocess.run(
        [path, "-c", "import paddle; print(paddle.__version__)"], capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode != 0 or not done.stdout:
        raise InputError(f"--python {text}: it cannot import paddle")
    return path, done.stdout.splitlines()[-1]


def compare(python: str, before: tuple[str, Path], after: tuple[str, Path], folder: Path) -> int:
    """Print the rows of one Python. Returns the number of comparisons with a difference."""
    modules, failed = before[1] / "tests", 0
    sides = Side(*before, python, modules), Side(*after, python, modules)
    killed = folder / f"{KILL_TEST}.yml"
    killed.write_text(kill_config(before[1]), encoding="utf-8")
    configs = {name: (before[1] / f"configs/{name}.yml", after[1] / f"configs/{name}.yml") for name in CONFIGS}
    for name, both in {**configs, KILL_TEST: (killed, killed)}.items():
        within = folder / name
        within.mkdir()
        try:
            for what, first, second in Pair(*sides, both, within).comparisons():
                found = differences(first, second)
                row(name, what, f"{len(first)} the same" if first and not found else f"{len(found)} DIFFERENT")
                lines = found[:SHOWN] + [f"and {len(found) - SHOWN} more"] * (len(found) > SHOWN)
                print("".join(f"    {line}\n" for line in lines), end="", flush=True)
                failed += not first or bool(found)
        except (ToolError, OSError) as error:
            row(name, str(error), "FAILED")
            failed += 1
        shutil.rmtree(within)
    return failed


def row(*cells: str) -> None:
    print(f"{cells[0]:15} {cells[1]:52} {cells[2]}", flush=True)


def compare_all(commits: tuple[str, str], pythons: Sequence[str]) -> int:
    """Returns the exit code. Raises InputError."""
    names = [commit_of(text) for text in commits]
    found = [python_of(text) for text in pythons]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="same_bytes-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        with worktree(names[0], folder / "BEFORE") as before, worktree(names[1], folder / "AFTER") as after:
            for index, (python, version) in enumerate(found):
                print(f"\nPaddle {version}: BEFORE {names[0][:10]}, AFTER {names[1][:10]}", flush=True)
                runs = folder / f"runs-{index}"
                runs.mkdir()
                failed += compare(python, ("BEFORE", before), ("AFTER", after), runs)
    print(f"\n{failed} of the comparisons failed" if failed else "\nall the same, bit for bit")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the runs of two commits bit for bit.")
    parser.add_argument("before", metavar="BEFORE", help="a commit, such as HEAD~3")
    parser.add_argument("after", metavar="AFTER", help="a commit, such as HEAD")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="each with a Paddle (default: the running one)")
    arguments = parser.parse_args()
    # It ends as Ctrl-C does: the worktrees are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return compare_all((arguments.before, arguments.after), arguments.python)
    except (InputError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
