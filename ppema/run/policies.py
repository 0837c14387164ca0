"""The weights of a checkpoint with BatchNorm's statistics by one policy or another, so that policies can be compared."""

from __future__ import annotations

from functools import cached_property

from ppema.config import RAW
from ppema.errors import CheckpointError
from ppema.passes.select import BatchNormPolicy
from ppema.programs import train_statistics
from ppema.run.checkpoint import Checkpoint
from ppema.run.recalibrate import Recalibrator
from ppema.run.setup import EvaluationRun


class Policies:
    """Puts a checkpoint's weights and their statistics into an evaluation run. Runs in the current scope, the run's."""

    def __init__(self, run: EvaluationRun, checkpoint: Checkpoint, batches: int):
        """batches: training batches that "recalibrate" measures on, at most."""
        self._run = run
        self._checkpoint = checkpoint
        self._batches = batches
        self._made: Recalibrator | None = None

    def of(self, weights: str) -> list[BatchNormPolicy]:
        """The policies that `weights` can be evaluated under: their own averaged statistics only where there are such."""
        averaged = weights != RAW and self._trained_with(weights) == "average"
        return ["average", "copy", "recalibrate"] if averaged else ["copy", "recalibrate"]

    def load(self, weights: str, policy: BatchNormPolicy | None) -> None:
        """Put `weights` under the variables' own names; policy: None for the statistics that the checkpoint has.

        Raises CheckpointError for weights or statistics that it does not have; ConfigError and DataError where the training
        data, or a model that can not be recalibrated, stands in the way.
        """
        self._run.load(self._checkpoint, weights, copied=self._statistics if policy == "copy" else ())
        if policy is not None and policy not in self.of(weights):
            raise CheckpointError(
                f"{self._checkpoint.path}: the average {weights!r} was trained with batch_norm: {self._trained_with(weights)}, "
                f"so that it has no averaged statistics; choose among {', '.join(self.of(weights))}"
            )
        if policy == "recalibrate":
            self._made = self._made or self._run.recalibrator(self._batches)
            self._made(RAW)

    def close(self) -> None:
        """End what reads the training data."""
        if self._made is not None:
            self._made.close()

    @cached_property
    def _statistics(self) -> set[str]:
        return train_statistics(self._run.config, self._run.eval_loader.fields)

    def _trained_with(self, weights: str) -> str:
        return self._checkpoint.manifest.config["averages"].get(weights, {}).get("batch_norm", "average")
