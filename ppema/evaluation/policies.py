"""Loads the weights of a checkpoint with BatchNorm statistics by a chosen policy, so that policies can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from ppema.checkpoint.checkpoint import Checkpoint
from ppema.config import DEFAULT_BATCHES, RAW
from ppema.errors import AverageError, CheckpointError
from ppema.evaluation.prepared import EvaluationRun
from ppema.evaluation.recalibrator import Recalibrator
from ppema.passes.recalibrate import recalibration
from ppema.passes.select import POLICIES, BatchNormPolicy
from ppema.programs.statistics import train_statistics


class Policies:
    """Loads a checkpoint's weights and their statistics into an evaluation run, whose scope must be the current one."""

    def __init__(self, run: EvaluationRun, checkpoint: Checkpoint, batches: int | None):
        """batches: the most training batches for "recalibrate"; None: each average's own number from training."""
        self._run = run
        self._checkpoint = checkpoint
        self._batches = batches
        self._made: dict[int, Recalibrator] = {}

    def of(self, weights: str) -> list[BatchNormPolicy]:
        """The policies that are possible for `weights`; an empty list for a model without BatchNorm.

        "average" requires averaged statistics in the checkpoint. "recalibrate" requires a model that can be recalibrated.
        """
        if not self._statistics:
            return []
        there = {"average": self._averaged(weights), "copy": True, "recalibrate": self._measurable}
        return [policy for policy in POLICIES if there[policy]]

    def chosen(
        self, weights: str, asked: Sequence[BatchNormPolicy] | Literal["all"] | None, *, skip: bool
    ) -> Sequence[BatchNormPolicy | None]:
        """The policies of `asked` that apply to `weights`. The policy None means the checkpoint's statistics.

        skip: omit "average" if the checkpoint has no averaged statistics of `weights`; False raises CheckpointError instead.
        """
        there = self.of(weights) if asked is not None else []
        if asked is None or not there:
            return [None]
        if asked == "all":
            return there
        if "average" in asked and "average" not in there and not skip:
            raise CheckpointError(
                f"{self._checkpoint.path}: it has no averaged statistics of {weights!r}; choose among {', '.join(there)}"
            )
        # "recalibrate" is kept even where it is impossible: `load` then raises the reason.
        return [policy for policy in asked if policy != "average" or policy in there]

    def load(self, weights: str, policy: BatchNormPolicy | None) -> None:
        """Put `weights` under the variables' own names. policy: one of `chosen`; None means the checkpoint's statistics.

        Raises CheckpointError for weights that the checkpoint lacks. "recalibrate" raises ConfigError or DataError for unusable
        training data, and ConfigError for a model that can not be recalibrated.
        """
        self._run.load(self._checkpoint, weights, copied=self._statistics if policy == "copy" else ())
        if policy == "recalibrate":
            self._recalibrate(weights)

    def _recalibrate(self, weights: str) -> None:
        """Measure statistics on the number of batches given to the constructor, else on the average's own number."""
        batches = self._batches or self._spec(weights).get("recalibrate_batches") or DEFAULT_BATCHES
        if batches not in self._made:
            self._made[batches] = self._run.recalibrator(batches, self._checkpoint.step)
        self._made[batches].measure(RAW)

    def close(self) -> None:
        """Close the loaders of the training data."""
        for made in self._made.values():
            made.close()

    @cached_property
    def _statistics(self) -> set[str]:
        return train_statistics(self._run.config, self._run.eval_loader.fields, self._run.model)

    @cached_property
    def _measurable(self) -> bool:
        try:
            recalibration(self._run.model.test.program, self._statistics)
        except AverageError:
            return False
        return True

    def _averaged(self, weights: str) -> bool:
        """Whether the checkpoint's statistics of `weights` are averages."""
        if weights == RAW or self._spec(weights).get("batch_norm") == "recalibrate":
            return False
        return not self._statistics.isdisjoint(self._checkpoint.shadow_of(weights))

    def _spec(self, weights: str) -> dict[str, Any]:
        """The average's section in the checkpoint's config; empty for the raw weights."""
        averages = self._checkpoint.manifest.config.get("averages")
        spec = averages.get(weights) if isinstance(averages, dict) else None
        return spec if isinstance(spec, dict) else {}
