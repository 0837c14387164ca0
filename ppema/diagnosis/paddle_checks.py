"""Checks of Paddle itself: whether it loads, on which device, and whether it computes there."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ppema.diagnosis.finding import Finding, bounded
from ppema.environment import available_cores, choose_threads, load_paddle, threads_in_use

_GPU_FILES = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))


def loads(device: str) -> Finding:
    """Whether Paddle can be imported, and is of a version that ppema knows."""
    choose_threads("auto")
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        paddle = load_paddle()
    seconds = time.perf_counter() - begin
    from paddle import version

    cuda = f"for CUDA {version.cuda()}" if paddle.is_compiled_with_cuda() else "for CPUs"
    detail = f"{version.full_version} {cuda}, commit {version.commit[:10]}, in {seconds:.1f} s"
    ours = [str(each.message) for each in caught if "ppema" in str(each.message)]
    return Finding("warning", f"{detail}; {ours[0]}") if ours else Finding("ok", detail)


def loaded_place(device: str) -> Any:
    """The paddle place of `device`, once Paddle is loaded. Raises SetupError, such as for a missing GPU."""
    choose_threads("auto")
    load_paddle()
    from ppema.programs.device import place_of

    return place_of(device)


def device(device: str) -> Finding:
    """Whether there is the device, and its name."""
    place = loaded_place(device)
    import paddle

    from ppema.programs.device import device_name

    name = device_name(device)
    if isinstance(place, paddle.CPUPlace) and not paddle.is_compiled_with_cuda() and any(map(Path.exists, _GPU_FILES)):
        return Finding("warning", f"{name}; this machine has an NVIDIA GPU, but this Paddle is for CPUs: docs/doctor.md")
    return Finding("ok", name)


def computes(device: str) -> Finding:
    """Whether a program runs on the device, and multiplies matrices as numpy does."""
    place = loaded_place(device)
    import paddle

    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=size).astype("float32") for size in ((64, 128), (128, 32)))
    main = paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        product = paddle.matmul(*(paddle.static.data(name, array.shape, "float32") for name, array in (("a", a), ("b", b))))
    (found,) = paddle.static.Executor(place).run(main, feed={"a": a, "b": b}, fetch_list=[product])
    wanted = a.astype("float64") @ b.astype("float64")
    error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    # GPUs may multiply in TF32, which has the digits of float16.
    bound = 1e-5 if isinstance(place, paddle.CPUPlace) else 1e-2
    return bounded(error, bound, f"a matrix product differs from float64 by {error:.1e} of its norm")


def threads(device: str) -> Finding:
    """The number of OpenMP threads of a run, and that of cores."""
    number, cores = choose_threads("auto"), available_cores()
    load_paddle()
    counts = [f"{threads_in_use()} of OpenMP", "1 core" if cores == 1 else f"{cores} cores"]
    if number > cores:
        return Finding("warning", f"{', '.join(counts)}: more threads than cores are slow; unset OMP_NUM_THREADS")
    if number < cores:
        return Finding("warning", f"{', '.join(counts)}: OMP_NUM_THREADS leaves cores idle")
    return Finding("ok", ", ".join(counts))


def onednn(device: str) -> Finding:
    """Whether oneDNN computes a convolution and its gradient as Paddle's own kernels do."""
    place = loaded_place(device)
    import paddle

    from ppema.ir import backend
    from ppema.passes.onednn import OnednnPass

    if not isinstance(place, paddle.CPUPlace):
        return Finding("skipped", "it computes on CPUs only")
    hindrance = backend().onednn_hindrance()
    if hindrance is not None:
        return Finding("skipped", hindrance)
    rng = np.random.default_rng(0)
    shapes = {"images": (4, 3, 12, 12), "kernel": (8, 3, 3, 3)}
    feed = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    found = []
    for placed in (False, True):
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            images, kernel = (paddle.static.data(name, shape, "float32") for name, shape in shapes.items())
            kernel.stop_gradient = False
            result = paddle.tanh(paddle.nn.functional.conv2d(images, kernel, padding=1))
            # A fetched operation would keep Paddle's kernel.
            fetched = [result, *(each * 1.0 for each in paddle.static.gradients([(result * result).sum()], [kernel]))]
        counted = OnednnPass().place(main, fetched).placed if placed else {}
        backend().settle()
        found.append(paddle.static.Executor(place).run(main, feed=feed, fetch_list=fetched))
    native, ours = (np.concatenate([array.astype("float64").ravel() for array in arrays]) for arrays in found)
    error = float(np.linalg.norm(ours - native) / np.linalg.norm(native))
    if set(counted) != {"conv2d", "conv2d_grad"}:
        return Finding("failed", f"of a convolution and its gradient it computes: {', '.join(counted) or 'nothing'}")
    return bounded(error, 1e-5, f"a convolution and its gradient differ from Paddle's by {error:.1e} of their norm")


def native(device: str) -> Finding:
    """Whether ppema's C++ operations are there, or can be compiled."""
    choose_threads("auto")
    load_paddle()
    import paddle

    from ppema.ir.native import OFF, origin, why_missing

    begin = time.perf_counter()
    reason = why_missing()
    if reason is None:
        seconds = time.perf_counter() - begin
        return Finding("ok", f"ready after {seconds:.1f} s: {origin()}")
    if os.environ.get(OFF) == "0" or paddle.is_compiled_with_cuda():
        return Finding("skipped", reason)
    return Finding("warning", f"{reason}; Paddle's operations update the averages, which is slower")
