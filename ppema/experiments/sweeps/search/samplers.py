"""What chooses the points of a sweep: its space, or Optuna's tree of Parzen estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler

from ppema.experiments.sweeps.search.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial


def sampler_of(space: Space, number: int) -> BaseSampler:
    """The sampler for trial `number`.

    That of TPE has a seed for each trial. With one seed for all, a process that goes on with a sweep would draw again the
    points that another one drew before.
    """
    if space.method != "tpe":
        return PointSampler(space)
    seed = np.random.SeedSequence((space.config.seed, number)).generate_state(1)[0]
    return TPESampler(seed=int(seed), constant_liar=True)


class PointSampler(BaseSampler):
    """Gives each trial the point of its number, so that Optuna's storage is a record of grids and random draws too."""

    def __init__(self, space: Space):
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        point = self._space.point(trial.number)
        assert point is not None
        return self._space.to_optuna(point)[param_name]


def suggested(trial: Trial, space: Space) -> dict[str, Any]:
    """The params of a trial. Those that the storage has already stay."""
    return space.from_optuna({key: _suggested(trial, key, each) for key, each in space.distributions.items()})


def _suggested(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
