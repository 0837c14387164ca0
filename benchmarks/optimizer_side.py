"""ppema's side of an optimizer with averages: the passes of a training step on gradients that are there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import paddle

from benchmarks.subjects import CLASSES, DECAY, MOMENTUM, RATE
from ppema.config import Config
from ppema.config.horizon import Horizon
from ppema.data.sets.synthetic import synthetic
from ppema.ir import backend
from ppema.ir.native import why_missing
from ppema.optimizers.optimizer import build_lr
from ppema.passes.target import Pass, TrainProgram, apply_passes
from ppema.programs.build import training_step
from ppema.programs.eval_program import build_test_model
from ppema.programs.executor import Executor
from ppema.programs.step import BackwardPass

ARGUMENTS: dict[str, dict[str, Any]] = {"SGD": {}, "Momentum": {"momentum": MOMENTUM}, "Adam": {}, "AdamW": {}}
GRADIENT = 1e-3


@dataclass(frozen=True)
class GivenPass(Pass):
    """In place of a backward pass of `Weights`: a gradient of 0.001 for each weight that the loss does not depend on.

    A step reads these gradients, and nothing writes them.
    """

    name: ClassVar[str] = "given"
    optimizer: Any

    def apply(self, target: TrainProgram) -> None:
        """Set `target.gradients` and `target.minimize`."""
        ir, main, startup = target.ir, target.main, target.startup
        with paddle.static.program_guard(main, startup):
            found = [pair for pair in self.optimizer.backward(target.loss) if pair[1] is not None]
            reached = {each.name for each, _ in found}
            for each in target.parameters:
                if each.name not in reached:
                    given = ir.create_state(main, startup, f"{each.name}.given", each.shape, "float32", GRADIENT)
                    found.append((each.variable, given))
            target.gradients, target.minimize = found, ir.update_of(main, self.optimizer, found)


@contextmanager
def optimize(
    shapes: Sequence[Sequence[int]], optimizer: str, averages: int, update_every: int = 1
) -> Iterator[Callable[[], object]]:
    """What a training step does after its backward pass: the check of the gradients, the optimizer, and the averages.

    shapes: of the float32 weights; optimizer: one of ARGUMENTS; update_every: steps between two updates of the averages.
    """
    one = {"samples": 1, "shape": [CLASSES], "classes": CLASSES}
    data = {"name": "synthetic", "batch_size": 1, **one}
    config = Config.model_validate(
        {
            "model": {"name": "benchmarks.paddle_models.Weights", "args": {"shapes": shapes}},
            "data": {"train": data, "eval": data},
            "optimizer": {"name": optimizer, "args": ARGUMENTS[optimizer]},
            "lr": RATE,
            "averages": {f"ema{index}": {"decay": DECAY, "update_every": update_every} for index in range(averages)},
            "train": {"epochs": 1_000_000_000},
        }
    )
    batch = synthetic(**one)
    horizon = Horizon(1, 1, epochs=1_000_000_000)
    model = build_test_model(config, batch.fields)
    passes = training_step(config, batch.fields, horizon, model, build_lr(config.lr, horizon.steps, 1), False)
    made = TrainProgram(paddle.static.Program(), paddle.static.Program())
    with backend().fresh_names(), paddle.static.program_guard(made.main, made.startup):
        apply_passes(made, [GivenPass(each.optimizer) if isinstance(each, BackwardPass) else each for each in passes])
    assert made.guard is not None, "every training step has a FinitePass"
    assert made.fusion is not None or why_missing() is not None, "Paddle's own operations would be measured"
    scope, fetch = paddle.static.Scope(), [made.guard.finite]
    executor = Executor(paddle.CPUPlace(), scope)
    feed = {field.name: array for field, array in zip(batch.fields, batch.arrays, strict=True)}
    with paddle.static.scope_guard(scope):
        executor.once(made.startup, {})
        yield lambda: executor.run(made.main, feed, fetch)
