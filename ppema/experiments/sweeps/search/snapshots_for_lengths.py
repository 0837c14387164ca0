"""What a run needs so that the length of its average can be searched afterwards: snapshots of two power functions."""

from __future__ import annotations

from typing import Any

from ppema.config import RAW, Config
from ppema.experiments.sweeps.search.space import override

# The widths of EDM2 (Karras et al. 2024, section 3.2).
NARROW, WIDE = 0.05, 0.10
# 20 snapshots: docs/post-hoc.md compares 16 and 32.
SNAPSHOT_EVERY = "5 %"


def overrides_for_lengths(config: Config) -> list[str]:
    """The overrides that add what the config lacks: averages with `sigma_rel`, up to two, and `train.snapshot_every`.

    The added averages are not evaluated during training, which would cost time.
    """
    found = [override(f"averages.{name}", spec) for name, spec in _missing(config).items()]
    if found and config.train.evaluate is None:
        found.append(override("train.evaluate", [RAW, *config.averages]))
    if config.train.snapshot_every is None:
        found.append(override("train.snapshot_every", SNAPSHOT_EVERY))
    return found


def _missing(config: Config) -> dict[str, dict[str, Any]]:
    """The specs of averages to add, by name. A second one is updated as the first one is."""
    widths = [(each.sigma_rel, each) for each in config.averages.values() if each.sigma_rel is not None]
    if len(widths) > 1:
        return {}
    if not widths:
        return {_free("narrow", config): {"sigma_rel": NARROW}, _free("wide", config): {"sigma_rel": WIDE}}
    ((width, only),) = widths
    narrow = abs(width - NARROW) < abs(width - WIDE)
    same = only.model_dump(exclude_defaults=True, exclude={"overwrite_every", "overwrite_mix"})
    return {_free("wide" if narrow else "narrow", config): {**same, "sigma_rel": WIDE if narrow else NARROW}}


def _free(name: str, config: Config) -> str:
    """`name`, with a number behind it if an average of the config has that name."""
    number = 2
    free = name
    while free in config.averages:
        free, number = f"{name}-{number}", number + 1
    return free
