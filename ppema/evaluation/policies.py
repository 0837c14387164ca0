"""The weights of a checkpoint with BatchNorm's statistics by one policy or another, so that policies can be compared."""

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
from ppema.programs.eval_program import train_statistics


class Policies:
    """Puts a checkpoint's weights and their statistics into an evaluation run. Runs in the current scope, the run's."""

    def __init__(self, run: EvaluationRun, checkpoint: Checkpoint, batches: int | None):
        """batches: training batches that "recalibrate" measures on, at most; None: as many as each average does in training."""
        self._run = run
        self._checkpoint = checkpoint
        self._batches = batches
        self._made: dict[int, Recalibrator] = {}

    def of(self, weights: str) -> list[BatchNormPolicy]:
        """The policies that `weights` can be evaluated under, none for a model without BatchNorm.

        "average" only where the checkpoint has averaged statistics of them, "recalibrate" only where the model can be.
        """
        if not self._statistics:
            return []
        there = {"average": self._averaged(weights), "copy": True, "recalibrate": self._measurable}
        return [policy for policy in POLICIES if there[policy]]

    def chosen(
        self, weights: str, asked: Sequence[BatchNormPolicy] | Literal["all"] | None, *, skip: bool
    ) -> Sequence[BatchNormPolicy | None]:
        """Those of the policies `asked` under which `weights` are to be evaluated; None is the checkpoint's statistics.

        skip: leave out what they have no statistics for, which otherwise raises CheckpointError.
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
        # A model that can not be recalibrated says why when it is asked to.
        return [policy for policy in asked if policy != "average" or policy in there]

    def load(self, weights: str, policy: BatchNormPolicy | None) -> None:
        """Put `weights` under the variables' own names; policy: one of theirs, or None for the checkpoint's statistics.

        Raises CheckpointError for weights that it does not have; ConfigError and DataError where the training data, or a model
        that can not be recalibrated, stands in the way.
        """
        self._run.load(self._checkpoint, weights, copied=self._statistics if policy == "copy" else ())
        if policy == "recalibrate":
            self._recalibrate(weights)

    def _recalibrate(self, weights: str) -> None:
        """On as many batches as were asked for, or else as the average itself takes in training."""
        batches = self._batches or self._spec(weights).get("recalibrate_batches") or DEFAULT_BATCHES
        if batches not in self._made:
            self._made[batches] = self._run.recalibrator(batches)
        self._made[batches].measure(RAW)

    def close(self) -> None:
        """End what reads the training data."""
        for made in self._made.values():
            made.close()

    @cached_property
    def _statistics(self) -> set[str]:
        return train_statistics(self._run.config, self._run.eval_loader.fields)

    @cached_property
    def _measurable(self) -> bool:
        try:
            recalibration(self._run.model.test.program, self._statistics)
        except AverageError:
            return False
        return True

    def _averaged(self, weights: str) -> bool:
        """Whether the statistics that the checkpoint has of them are averages."""
        if weights == RAW or self._spec(weights).get("batch_norm") == "recalibrate":
            return False
        return not self._statistics.isdisjoint(self._checkpoint.shadow_of(weights))

    def _spec(self, weights: str) -> dict[str, Any]:
        """What the checkpoint's config says of the average; nothing of the raw weights."""
        averages = self._checkpoint.manifest.config.get("averages")
        spec = averages.get(weights) if isinstance(averages, dict) else None
        return spec if isinstance(spec, dict) else {}
