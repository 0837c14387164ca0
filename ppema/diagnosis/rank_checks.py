"""Checks of two processes that train together, against one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ppema.diagnosis.apart import python_with_ppema
from ppema.diagnosis.finding import Finding, bounded
from ppema.diagnosis.last_words import last_words
from ppema.diagnosis.paddle_checks import loaded_place
from ppema.diagnosis.run_checks import STEPS, small_config

RANKS = 2
_SECONDS = 90  # the ranks end by themselves after this time
_LIMIT = 105.0  # seconds that the launcher has
_BOUND = 1e-6  # absolute
# Before anything is imported: a rank ends with the launcher, which starts it in a session of its own, and after its time.
_ENDING = "import ctypes, faulthandler; ctypes.CDLL(None).prctl(1, 9); faulthandler.dump_traceback_later({seconds}, exit=True)"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Without BatchNorm, whose statistics are those of each rank's part of a batch.
_MLP = "{name: mlp, args: {in_features: 64, num_classes: 3, hidden: [16]}}"


def gloo(device: str) -> Finding:
    """Two processes on the CPU of this machine, by gloo."""
    loaded_place("cpu")
    import paddle

    if paddle.is_compiled_with_cuda():
        # It would choose NCCL. The launcher needs a device for each rank, and CUDA finds none of these two.
        return _compared("cpu", {_VISIBLE: "-1,-1", "PADDLE_DISTRI_BACKEND": "gloo"})
    found = _compared("cpu", {_VISIBLE: None})
    if found.result == "ok" and _VISIBLE in os.environ:
        advice = f"unset {_VISIBLE}: Paddle's launcher takes it for the list of devices, although this Paddle is for CPUs"
        return Finding("warning", f"{found.detail}; {advice}")
    return found


def nccl(device: str) -> Finding:
    """Two processes on a GPU each, by NCCL."""
    place = loaded_place(device)
    import paddle

    if isinstance(place, paddle.CPUPlace):
        return Finding("skipped", "the device is a CPU")
    if paddle.device.cuda.device_count() < RANKS:
        return Finding("skipped", "it needs 2 GPUs, and there is 1")
    return _compared("gpu", {})


def _compared(device: str, variables: Mapping[str, str | None]) -> Finding:
    """Train with one process and with two. variables: as for `launched`."""
    from ppema.training.loop import train

    with tempfile.TemporaryDirectory() as folder:
        train(small_config(Path(folder), device, model=_MLP))
        alone = weights(Path(folder))
    found = launched(device, variables)
    if isinstance(found, Finding):
        return found
    error = max(float(np.abs(found[name] - array).max()) for name, array in alone.items())
    return bounded(error, _BOUND, f"{STEPS} steps: at most {error:.1e} from the weights of one process")


def launched(device: str, variables: Mapping[str, str | None]) -> dict[str, np.ndarray] | Finding:
    """`weights` of a run of two ranks, or why there are none.

    variables: those of the environment that the ranks have otherwise, None for absent ones.
    """
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_config(folder, device, model=_MLP)
        script = folder / "rank.py"
        be = f"from ppema.diagnosis.rank_checks import be_a_rank; be_a_rank({name!r})"
        ending = _ENDING.format(seconds=_SECONDS)
        script.write_text(f"{ending}\n{python_with_ppema(be)[-1]}", encoding="utf-8")
        # The launcher writes the whole environment to its logs: into a folder that only this user can read.
        options = ["--nproc_per_node", str(RANKS), "--log_dir", f"{name}/log"]
        command = [sys.executable, "-m", "paddle.distributed.launch", *options, str(script)]
        code = _code(command, folder, environment, folder / "launcher.txt")
        files = [*sorted((folder / "log").glob("workerlog.*")), folder / "launcher.txt"]
        *logs, output = [each.read_text(encoding="utf-8", errors="replace") for each in files]
        print(output, *logs, sep="\n")
        if code != 0:
            how = f"did not end within {_LIMIT:.0f} s" if code is None else f"ended with exit code {code}"
            return Finding("failed", f"the launcher {how}{last_words(chr(10).join(logs)) or last_words(output)}")
        return weights(folder)


def _code(command: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path) -> int | None:
    """The exit code of `command`, which is run in `folder` and writes to `output`; None if it does not end, and is killed."""
    with open(output, "wb") as file:
        given = {"cwd": folder, "env": environment, "stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        try:
            return subprocess.run(command, timeout=_LIMIT, check=False, **given).returncode
        except subprocess.TimeoutExpired:
            return None


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Raw weights and averages in the last checkpoint of the small run in `folder`, by part and name."""
    from ppema.checkpoint.store import Checkpoints

    found = Checkpoints(folder / "run" / "checkpoints").find("last")
    parts = ("raw", "average-ema", "average-quick")
    return {f"{part}/{name}": array for part in parts for name, array in found.arrays(part).items()}


def be_a_rank(folder: str) -> None:
    """Train the small run in `folder` as one of the launcher's processes, with one thread."""
    from ppema.config import load_config
    from ppema.environment import choose_threads, load_paddle

    choose_threads(1)
    load_paddle()
    from ppema.training.loop import train

    train(load_config(Path(folder) / "small.yml", ["runtime.threads=1"]))
