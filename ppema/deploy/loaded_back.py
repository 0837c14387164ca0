"""Loads an exported program back, and compares its outputs with those of the live program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from ppema.deploy.native_output import without_native_output
from ppema.errors import TrainingError
from ppema.ir import backend
from ppema.user_code.blame import blamed

MOST_DIFFERENCE = 1e-4
LoadedProgram = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]  # from inputs by name to the outputs, in order


class NotRunError(TrainingError):
    """An operation of a loaded program failed."""


@dataclass(frozen=True)
class Compared:
    """The comparison of an export with the live program.

    greatest: the greatest absolute difference, divided by the largest magnitude of its output if that is above 1; what: the
    compared samples, in words; by: the program that loaded the export.
    """

    greatest: float
    what: str
    by: str


def difference(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    """The greatest |expected - found| / max(1, max |expected|) over the outputs, in float64.

    Equal numbers that are not finite differ by 0; others, and other shapes or numbers of outputs, differ by infinity.
    """
    if [array.shape for array in expected] != [array.shape for array in found]:
        return float("inf")
    return max((_difference(*pair) for pair in zip(expected, found, strict=True)), default=0.0)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    ours, theirs = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)), 0.0, np.abs(ours - theirs))
    if not apart.size:
        return 0.0
    if not np.isfinite(apart).all():
        return float("inf")
    return float(apart.max()) / max(1.0, float(np.abs(ours[np.isfinite(ours)]).max(initial=0.0)))


def compare(
    file: Path, run: LoadedProgram, by: str, expected: LoadedProgram, samples: Mapping[str, np.ndarray], what: str
) -> Compared:
    """Compare `run`, the export `file` loaded by the program `by`, with `expected` on all samples together and on the first.

    Raises NotRunError if an operation fails, and TrainingError for a difference above MOST_DIFFERENCE.
    """
    greatest = 0.0
    for feed in (samples, {name: array[:1] for name, array in samples.items()}):
        wanted = expected(feed)
        try:
            found = run(feed)
        except Exception as error:
            raise NotRunError(f"{file.name}: {by} can not run the export: {blamed(error)}") from error
        greatest = max(greatest, difference(wanted, found))
    if not greatest <= MOST_DIFFERENCE:
        raise TrainingError(
            f"{file.name}: loaded by {by}, its outputs differ from the model's by {greatest:.3g} on {what}; "
            f"at most {MOST_DIFFERENCE:g} is accepted: nothing was written"
        )
    return Compared(greatest, what, by)


def by_inference(prefix: Path, threads: int, *, onednn: bool = True) -> LoadedProgram:
    """The program saved as `prefix`, loaded by `paddle.inference` on the CPU, with its default passes.

    onednn: leave the choice of kernels to Paddle, which prefers oneDNN. Raises TrainingError if it can not be loaded.
    """
    from paddle import inference

    program, weights = program_files(prefix)
    try:
        config = inference.Config(str(program), str(weights))
        config.disable_glog_info()
        config.disable_gpu()
        if not onednn:
            config.disable_mkldnn()
        config.set_cpu_math_library_num_threads(threads)
        backend().settle()
        with without_native_output():
            predictor = inference.create_predictor(config)
    except Exception as error:
        raise TrainingError(f"{program.name}: paddle.inference can not load the export: {blamed(error)}") from error

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        for name, array in feed.items():
            handle = predictor.get_input_handle(name)
            handle.reshape(array.shape)
            handle.copy_from_cpu(np.ascontiguousarray(array))
        backend().settle()
        with without_native_output():
            predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

    return run


def by_load_inference_model(prefix: Path) -> LoadedProgram:
    """The program saved as `prefix`, loaded by `paddle.static.load_inference_model` into a scope of its own.

    Raises TrainingError if it can not be loaded.
    """
    own, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    try:
        with paddle.static.scope_guard(own):
            loaded: Any = paddle.static.load_inference_model(str(prefix), executor)
            program, _, outputs = loaded
    except Exception as error:
        raise TrainingError(f"{prefix.name}: load_inference_model can not load the export: {blamed(error)}") from error

    def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        backend().settle()
        with paddle.static.scope_guard(own):
            return executor.run(program, dict(feed), outputs)

    return run


def program_files(prefix: Path) -> tuple[Path, Path]:
    """The files of the program and of the weights that `save_inference_model` writes for `prefix`."""
    program = prefix.with_name(f"{prefix.name}.json")
    if not program.exists():
        program = prefix.with_name(f"{prefix.name}.pdmodel")
    return program, prefix.with_name(f"{prefix.name}.pdiparams")
