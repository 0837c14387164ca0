"""ppema's side: training steps and updates of averages, by its own programs and loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from typing import Any

import paddle

from benchmarks.peer import ROOT
from benchmarks.stock import weights
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.averaging.decay import Constant
from ppema.averaging.rule import Rule
from ppema.checkpoint.begun import Begun
from ppema.checkpoint.state import BEGINNING
from ppema.config import Config, load_config
from ppema.data import Batch, Loader
from ppema.errors import TrainingError
from ppema.ir import backend, native
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.target import TrainProgram
from ppema.programs.executor import Executor
from ppema.training.setup import TrainingRun, prepare_training
from ppema.training.stepper import RankStepper, Stepper

FASHION = ROOT / "configs/fashion_cnn.yml"


@contextmanager
def step(name: str, averages: int) -> Iterator[Callable[[], object]]:
    """A step of training on one batch of the subject `name`, with this number of averages."""
    specs = {f"ema{index}": {"decay": DECAY} for index in range(averages)}
    with started(Config.model_validate(SUBJECTS[name].config(specs))) as (run, work):
        batch = next(iter(run.train_loader.epoch(0)))
        yield lambda: work(batch)


@contextmanager
def fashion(repeated: bool) -> Iterator[Callable[[], object]]:
    """A step of configs/fashion_cnn.yml, on the batches of its data, or always on the first one if `repeated`."""
    with started(load_config(FASHION, [])) as (run, work):
        batches = _endless(run.train_loader)
        first = next(batches)
        yield (lambda: work(first)) if repeated else (lambda: work(next(batches)))


@contextmanager
def update(shapes: Sequence[Sequence[int]], averages: int) -> Iterator[Callable[[], object]]:
    """A run of a program that only updates averages of float32 parameters of these shapes."""
    ir, main, startup = backend(), paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        weights(shapes)
        parameters = ir.parameters(main)
        target = TrainProgram(main, startup)
        for index in range(averages):
            declare(target, f"ema{index}", Rule(Constant(DECAY)), parameters)
        UpdatePass().apply(target)
    own = paddle.static.Scope()
    executor = Executor(paddle.CPUPlace(), own)
    with paddle.static.scope_guard(own):
        executor.once(startup, {})
        yield lambda: executor.run(main, {})


@contextmanager
def update_without_compiler(shapes: Sequence[Sequence[int]]) -> Iterator[Callable[[], object]]:
    """`update` of one average at every step by Paddle's own operations. The process must not have built a program before."""
    os.environ[native.OFF] = "0"
    with update(shapes, 1) as work:
        yield work


@contextmanager
def started(config: Config) -> Iterator[tuple[TrainingRun, Callable[[Batch], object]]]:
    """A run of `config` in its scope, and a step of its training on a batch. Paddle's launcher makes this process a rank.

    The step raises TrainingError if it is skipped, because a skipped step does less.
    """
    with closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope):
        stepper = Stepper(run, Begun()) if run.world.alone else RankStepper(run, Begun(), lambda: False)

        def work(batch: Batch) -> None:
            step = stepper.run(batch, BEGINNING)
            if step is not None and step.skipped is not None:
                raise TrainingError(f"a step of the benchmark was skipped: {step.skipped}")

        yield run, work


def _endless(loader: Loader) -> Iterator[Any]:
    for epoch in count():
        yield from loader.epoch(epoch)
