"""Places a metric in a program, and reads its figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import paddle

from ppema.errors import ConfigError, PpemaError
from ppema.ir import Variable, dtype_name, is_variable
from ppema.losses import form
from ppema.metrics.merging import Gathered
from ppema.metrics.metric import BatchMean, Counts, Kept, Metric, Statistic
from ppema.user_code.blame import blamed

Figure = float | list[Any]  # a number, or an array as nested lists
_PART = re.compile("[A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Gauge:
    """A measure in a program: the statistics of a batch, and the function that turns those of a set into figures.

    name: of the measure; result: as `Metric.result`.
    """

    name: str
    statistics: dict[str, Statistic]
    result: Callable[[dict[str, np.ndarray]], Any]

    @property
    def variables(self) -> list[Variable]:
        """The variables of the statistics, in their order."""
        return [each.value for each in self.statistics.values()]

    def reading(self, variables: Iterator[Variable]) -> Gauge:
        """A copy with the next of `variables` for each statistic, as after the program was cloned."""
        return replace(self, statistics={name: type(each)(next(variables)) for name, each in self.statistics.items()})

    def gather(self, into: Gathered, batch: int, samples: int, values: Sequence[np.ndarray]) -> None:
        """Add the statistics of a batch. batch: its number; samples: its size; values: the arrays of `variables`.

        Raises ConfigError for kept values that are not one row per sample, and for shapes that differ from batch to batch.
        """
        for (name, statistic), value in zip(self.statistics.items(), values, strict=True):
            if isinstance(statistic, Counts):
                try:
                    into.add(name, value)
                except ValueError as error:
                    raise self._fault(str(error)) from None
                continue
            if isinstance(statistic, BatchMean):
                value = np.full(samples, np.asarray(value).reshape(()))
            if value.ndim == 0 or len(value) != samples:
                rows = 1 if value.ndim == 0 else len(value)
                raise self._fault(f"{rows} values for a batch of {samples} samples: return one value per sample")
            into.keep(name, batch, value)

    def merged(self, parts: Iterable[Gathered]) -> Gathered:
        """The statistics of all batches, of which each of `parts` has some. Raises ConfigError as `gather` does."""
        whole = Gathered()
        for part in parts:
            try:
                whole.include(part)
            except ValueError as error:
                raise self._fault(str(error)) from None
        return whole

    def figures(self, gathered: Gathered) -> dict[str, Figure]:
        """The figures of a set by name. Raises ConfigError, in one line, if the metric's function fails."""
        try:
            found = gathered.whole()
        except ValueError:
            raise self._fault("the values of a sample have another shape from batch to batch") from None
        try:
            with np.errstate(all="ignore"):
                result = self.result(found)
        except PpemaError as error:
            raise self._fault(str(error)) from error
        except (Exception, SystemExit) as error:
            raise self._fault(blamed(error)) from error
        parts = result if isinstance(result, Mapping) else {"": result}
        if not parts:
            raise self._fault("its result has no figure")
        return {self._named(part): self._figure(part, value) for part, value in parts.items()}

    def _named(self, part: Any) -> str:
        if not isinstance(part, str) or not _PART.fullmatch(part):
            raise self._fault(f"its result has the part {part!r}: expected a name made of letters, digits, '_' and '-'")
        return f"{self.name}.{part}" if part else self.name

    def _figure(self, part: str, value: Any) -> Figure:
        try:
            array = np.asarray(value)
        except ValueError:  # a list of rows of several lengths
            array = np.asarray(None)
        if array.dtype.kind not in "biuf":
            of = f"for {part!r} " if part else ""
            raise self._fault(f"its result {of}is a {type(value).__name__}: expected a number, an array, or a mapping of these")
        if array.ndim == 0:
            return float(array)
        return array.tolist()

    def _fault(self, message: str) -> ConfigError:
        return ConfigError.of(f"{self.name}: {message}")


def place(name: str, metric: Metric, predictions: Any, targets: Any) -> Gauge:
    """Build the statistics of `metric` in the default main program. Arguments are those of `Metric.statistics`.

    Raises ConfigError for a result that is no mapping of statistics, counts that are no integers, and kept values whose first
    axis is not the samples.
    """
    made = metric.statistics(predictions, targets)
    if not isinstance(made, Mapping) or not made:
        raise ConfigError.of(f"{name}: statistics returns {_kind(made)}: expected a mapping of names to Counts or Kept")
    for key, each in made.items():
        if not isinstance(each, Statistic):
            raise ConfigError.of(f"{name}: the statistic {key!r} is a {type(each).__name__}: expected Counts or Kept")
    return Gauge(
        name, {str(key): _checked(f"{name}: the statistic {key!r}", each) for key, each in made.items()}, metric.result
    )


def _checked(what: str, statistic: Statistic) -> Statistic:
    value = statistic.value
    if not is_variable(value):
        raise ConfigError.of(f"{what} holds a {type(value).__name__}: expected a variable")
    if isinstance(statistic, Counts):
        if dtype_name(value) not in ("int64", "int32", "bool"):
            raise ConfigError.of(f"{what} is {form(value)}: Counts are integers; cast them, or use Kept")
        if -1 in value.shape:
            raise ConfigError.of(f"{what} is {form(value)}: the counts of a batch have a known shape, without its samples")
        return Counts(value if dtype_name(value) == "int64" else paddle.cast(value, "int64"))
    if isinstance(statistic, Kept) and list(value.shape)[:1] != [-1]:
        raise ConfigError.of(f"{what} is {form(value)}: the first axis of Kept values is the samples")
    return statistic


def _kind(value: Any) -> str:
    return "an empty mapping" if isinstance(value, Mapping) else f"a {type(value).__name__}"
