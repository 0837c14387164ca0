"""Checks of two processes that train together, against one."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppema.diagnosis.apart import python_with_ppema
from ppema.diagnosis.finding import Finding, bounded
from ppema.diagnosis.last_words import last_words
from ppema.diagnosis.paddle_checks import loaded_place
from ppema.ranks import Ranks

RANKS, STEPS = 2, 10
_SECONDS = 60  # the ranks end by themselves after this time, and the launcher a little later
_BOUND = 1e-6  # absolute
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SAMPLES, _INPUTS, _HIDDEN = 12, 8, 16


def gloo(device: str) -> Finding:
    """Two processes on the CPU of this machine, by gloo."""
    place = loaded_place("cpu")
    import paddle

    if paddle.is_compiled_with_cuda():
        # It would choose NCCL. The launcher needs a device for each rank, and CUDA finds none of these two.
        return _compared("cpu", place, {_VISIBLE: "-1,-1", "PADDLE_DISTRI_BACKEND": "gloo"})
    found = _compared("cpu", place, {_VISIBLE: None})
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
    return _compared("gpu", paddle.CUDAPlace(0), {})


def _compared(kind: str, place: Any, variables: Mapping[str, str | None]) -> Finding:
    found = launched(kind, variables)
    if isinstance(found, Finding):
        return found
    if any(each.tobytes() != found[0].tobytes() for each in found):
        return Finding("failed", "the ranks have different weights after the same steps")
    error = float(np.abs(found[0] - trained(Ranks(), place)).max())
    return bounded(error, _BOUND, f"{STEPS} steps: the ranks are equal, and differ from one process by {error:.1e} at most")


def launched(kind: str, variables: Mapping[str, str | None]) -> list[np.ndarray] | Finding:
    """The weights of each rank, or why there are none.

    kind: as in `be_a_rank`; variables: those of the environment that the ranks have otherwise, None for absent ones.
    """
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "rank.py"
        be = f"from ppema.diagnosis.rank_checks import be_a_rank; be_a_rank({name!r}, {kind!r})"
        script.write_text(python_with_ppema(be)[-1], encoding="utf-8")
        # The launcher writes the whole environment to its logs: into a folder that only this user can read.
        options = ["--nproc_per_node", str(RANKS), "--log_dir", f"{name}/log"]
        done = subprocess.run(
            [sys.executable, "-m", "paddle.distributed.launch", *options, str(script)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS + 15,
        )
        if done.returncode:
            logs = [each.read_text(encoding="utf-8", errors="replace") for each in sorted((folder / "log").glob("workerlog.*"))]
            said = last_words("\n".join(logs)) or last_words(done.stdout + done.stderr)
            return Finding("failed", f"the launcher ended with exit code {done.returncode}{said}")
        return [np.load(folder / f"{rank}.npy") for rank in range(RANKS)]


def be_a_rank(folder: str, kind: str) -> None:
    """Train as one of the launcher's processes, and write the weights to <folder>/<rank>.npy. kind: "cpu" or "gpu"."""
    faulthandler.dump_traceback_later(_SECONDS, exit=True)
    from ppema.environment import choose_threads, load_paddle

    choose_threads(1)
    load_paddle()
    import paddle

    from ppema.distributed.world import joined
    from ppema.ranks import launched_ranks

    place = paddle.CPUPlace() if kind == "cpu" else paddle.CUDAPlace(launched_ranks().local_rank)
    world = joined(place)
    np.save(Path(folder) / f"{world.ranks.rank}.npy", trained(world.ranks, place))
    world.meet("the end")
    world.close()


def trained(ranks: Ranks, place: Any) -> np.ndarray:
    """All weights of a small network after `STEPS` steps, of which this rank computes its share. [n] float32."""
    import paddle

    from ppema.ir import backend, scope

    rng = np.random.default_rng(0)
    shapes = {"first": [_INPUTS, _HIDDEN], "second": [_HIDDEN, 1]}
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        inputs, targets = (paddle.static.data(name, [-1, size], "float32") for name, size in (("x", _INPUTS), ("y", 1)))
        made = {"dtype": "float32", "default_initializer": paddle.nn.initializer.Constant(0.0)}
        first, second = (paddle.static.create_parameter(shape, name=name, **made) for name, shape in shapes.items())
        loss = ((paddle.tanh(inputs @ first) @ second - targets) ** 2).sum() / _SAMPLES
        for weights, gradient in zip((first, second), paddle.static.gradients([loss], [first, second]), strict=True):
            whole = backend().append_all_reduce(gradient * 0.1) if ranks.size > 1 else gradient * 0.1
            paddle.assign(weights - whole, output=weights)
    here, executor = paddle.static.Scope(), paddle.static.Executor(place)
    share = slice(_SAMPLES * ranks.rank // ranks.size, _SAMPLES * (ranks.rank + 1) // ranks.size)
    with paddle.static.scope_guard(here):
        executor.run(startup)
        scope.put(here, {name: rng.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()})
        for _ in range(STEPS):
            batch = {name: rng.normal(size=(_SAMPLES, size)).astype("float32") for name, size in (("x", _INPUTS), ("y", 1))}
            executor.run(main, feed={name: array[share] for name, array in batch.items()})
        return np.concatenate([scope.get(here, name).ravel() for name in shapes])
