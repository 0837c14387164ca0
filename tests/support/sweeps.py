"""Sweeps of the stand-in for a training, `trainee`, here and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppema.experiments.sweeps.search.space import Space
from ppema.experiments.sweeps.search.space_checks import space_of
from ppema.experiments.sweeps.shared.claims import Pace
from ppema.experiments.sweeps.sweep_folder import SweepResults
from ppema.experiments.sweeps.sweeping import run_sweep
from support import trainee
from support.commands import ROOT

CONFIG = str(ROOT / "configs/digits_mlp.yml")
TRAINEE = [sys.executable, "-S", "-E", trainee.__file__]
RATES = ["lr=log:1e-4..0.4"]
# Of claims, for storages that other machines reach.
QUICK = Pace(beat=0.2, grace=2.0, settle=0.3)
_CODE = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]; import support.sweeps as s; sys.exit(s.main())"


def space(over=RATES, method: str | None = "random", trials: int | None = 4, **options: Any) -> Space:
    return space_of(CONFIG, over=over, method=method, trials=trials, monitor="ema/accuracy", **options)


def swept(*arguments: Any, storage: str | None = None, launcher=TRAINEE, **options: Any) -> SweepResults:
    """The results of a sweep in the folder s. arguments, options: of `space`."""
    return run_sweep(space(*arguments, **options), "s", storage=storage, launcher=launcher).results


def started(trials: int, jobs: int, folder: str = "s", storage: str = "", **options: Any) -> subprocess.Popen[str]:
    """A sweep as a process."""
    command = [sys.executable, "-c", _CODE, str(trials), str(jobs), folder, storage]
    return subprocess.Popen(command, text=True, **{"stderr": subprocess.PIPE, **options})


def main() -> int:
    """The process of `started`."""
    trials, jobs, folder, storage = sys.argv[1:]
    made = space(trials=int(trials), jobs=int(jobs))
    outcome = run_sweep(made, folder, launcher=TRAINEE, storage=storage or None, pace=QUICK)
    assert "paddle" not in sys.modules
    return 128 + outcome.stopped_by if outcome.stopped_by else 0


def launcher(folder: Path, code: str) -> list[str]:
    """A command that runs `code` in place of a training, with its `output`, and `attempt`, which counts from 1."""
    file = folder / "launched.py"
    file.write_text(
        "import json, os, re, signal, sys\n"
        "output = re.search(r'output=\\'?([^\\']+)', ' '.join(sys.argv))[1].split()[0]\n"
        "os.makedirs(f'{output}/attempts', exist_ok=True)\n"
        "attempt = len(os.listdir(f'{output}/attempts')) + 1\n"
        "open(f'{output}/attempts/{attempt}', 'w').close()\n"
        "def evaluate(*steps):\n"
        '    line = \'{"kind": "eval", "weights": "ema", "accuracy": 0.5, "epoch": 1, "step": %d}\\n\'\n'
        "    open(f'{output}/metrics.jsonl', 'w').write(''.join(line % step for step in steps))\n"
        f"{code}"
    )
    return [sys.executable, "-S", "-E", str(file)]


def ledger(folder: Path) -> list[str]:
    """The names of the runs that reached their end, once for each time."""
    return sorted(line.split()[0] for line in (folder / "ledger").read_text().splitlines())


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until `condition()` is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def trainings(folder: Path) -> list[int]:
    """The process ids of stand-ins whose working folder is `folder`."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            words = (each / "cmdline").read_bytes().split(b"\0") if each.name.isdecimal() else []
            if trainee.__file__.encode() in words and os.path.samefile(each / "cwd", folder):
                found.append(int(each.name))
        except OSError:
            continue
    return found
