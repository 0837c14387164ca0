"""What becomes of the samples of an evaluation: files in the run's folder, and intervals."""

from __future__ import annotations

from collections.abc import Callable

from ppema.checkpoint.paths import output_of
from ppema.config import Config
from ppema.errors import Naming, PpemaError
from ppema.evaluation.samples.kept_samples import KeptSamples, write_samples
from ppema.evaluation.samples.replicates import Replicates, replicates

_LIMIT = 2.0  # GiB


class TakenSamples:
    """Receives the samples of each evaluated set of weights."""

    def __init__(
        self,
        config: Config,
        *,
        keep: bool,
        hold: bool = False,
        limit: float | None = None,
        say: Callable[[str], None] = lambda line: None,
    ):
        """keep: write them to the run's folder; hold: hold them for `replicates`. limit: GiB for one set of weights (None: 2).
        say: receives a line for each file.

        Raises PpemaError for a limit without samples, and one that is not above 0.
        """
        if limit is not None and not (keep or hold):
            raise PpemaError(Naming("{samples_limit} requires {keep_samples} or {intervals}"))
        if limit is not None and not limit > 0:
            raise PpemaError(Naming("{samples_limit}: expected a number of GiB above 0, got {}", limit))
        self.wanted = keep or hold
        self.most = int((limit or _LIMIT) * 2**30)
        self._config, self._keep, self._hold, self._say = config, keep, hold, say
        self._held: list[KeptSamples] = []

    def check(self, step: int | None, *, policies: bool) -> None:
        """Raise PpemaError if samples of such an evaluation can not be kept. step: of the weights; policies: for BatchNorm."""
        if self._keep and policies:
            raise PpemaError(Naming("{keep_samples}: the weights of a checkpoint are kept as they are: leave out {batch_norm}"))
        if self._keep and step is None:
            raise PpemaError(Naming("{keep_samples}: a file of weights belongs to no step of the run: leave it out"))

    def take(self, samples: KeptSamples) -> None:
        """Write or hold `samples`. Raises TrainingError if they can not be written."""
        if self._keep:
            file, size = write_samples(output_of(self._config), samples)
            self._say(f"samples: {file}, {-(-size // 1024):,} KiB")
        if self._hold:
            self._held.append(samples)

    def replicates(self) -> list[Replicates]:
        """The figures of all held samples on the same resamples. Raises as `replicates` does."""
        return replicates(self._config, self._held)
