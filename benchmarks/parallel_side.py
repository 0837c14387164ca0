"""The sides of the benchmark of ranks: training steps on a batch that grows with the ranks, and the sums of a step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

import paddle

from benchmarks.ours import started
from benchmarks.stock import weights
from benchmarks.subjects import CLASSES, DECAY, SUBJECTS, Subject
from ppema.config import Config
from ppema.ir import backend
from ppema.passes.parallel.data_parallel import ReducePass
from ppema.passes.parallel.reduction import RankPlace, place_of_rank
from ppema.passes.target import TrainProgram

EACH = 32  # samples of a rank in a batch


@dataclass(frozen=True)
class Case:
    """A model, its batch of one rank, and the number of batches in a step.

    aim: for the speed of two ranks over one process; most: the largest number of ranks that is measured.
    """

    subject: Subject
    accumulate: int = 1
    aim: float | None = None
    most: int = 4

    @property
    def title(self) -> str:
        """The model and the batch of one rank."""
        return self.subject.title + (f", accumulate: {self.accumulate}" if self.accumulate > 1 else "")

    @property
    def samples(self) -> int:
        """The number of samples in a step of one rank."""
        return self.subject.batch * self.accumulate

    def config(self, ranks: int) -> Config:
        """The config of a run on `ranks` times the batch of one rank."""
        batch = self.subject.batch * ranks
        made = replace(self.subject, batch=batch).config({"ema": {"decay": DECAY}})
        made["data"]["train"]["samples"] = batch * self.accumulate
        made["train"]["accumulate"] = self.accumulate
        # Ranks rest during the turns of the others.
        made["runtime"] = {"rank_patience": 3600}
        return Config.model_validate(made)


_RESNET = SUBJECTS["resnet18-32"]
_DIGITS = Subject(
    f"digits CNN, {EACH} x 8^2", "cnn", {"in_channels": 1, "num_classes": CLASSES, "widths": [16, 32]}, EACH, (1, 8, 8)
)
CASES = {
    "resnet18-64": Case(replace(_RESNET, title=f"ResNet-18, {EACH} x 64^2", shape=(3, 64, 64)), aim=1.7, most=2),
    "resnet18-32-accumulated": Case(_RESNET, 4, 1.7, 2),
    "resnet18-32": Case(_RESNET),
    "digits": Case(_DIGITS),
}


@contextmanager
def step(case: str, ranks: int) -> Iterator[Callable[[], object]]:
    """A step of training of CASES[case], on the batches of `ranks` ranks. This process takes its part of them."""
    made = CASES[case]
    with started(made.config(ranks)) as (run, work):
        batches = list(islice(run.train_loader.epoch(0), made.accumulate))

        def whole() -> None:
            for batch in batches:
                work(batch)

        yield whole


@contextmanager
def sums(case: str, ranks: int, bucket: int | None = None) -> Iterator[Callable[[], object]]:
    """The sums of a step of CASES[case] over `ranks` ranks, of which this process is one, without any other work.

    bucket: the most bytes of a bucket; None: as in training.
    """
    reduce = ReducePass(ranks) if bucket is None else ReducePass(ranks, bucket)
    with started(CASES[case].config(ranks)) as (run, _):
        main, startup = paddle.static.Program(), paddle.static.Program()
        with backend().fresh_names(), paddle.static.program_guard(main, startup):
            shapes = [each.shape for each in backend().parameters(run.programs.train) if each.trainable]
            weights(shapes)
            target = TrainProgram(main, startup, loss=paddle.zeros([]), place=RankPlace.input())
            target.gradients = [(each, each.variable) for each in backend().parameters(main)]
            made = reduce.apply(target)
        run.executor.once(startup, {})
        feed = place_of_rank(stop=False, step=0, share=1 / ranks, samples=EACH * ranks, of_step=1 / ranks)
        yield lambda: run.executor.run(main, feed, [made.signals])
