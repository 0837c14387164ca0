"""Checks that all ranks work on the same config with the same arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ppema.config import Config
from ppema.distributed.world import World

# Keys that concern one machine, or the first rank alone. All ranks wait for the pictures of `board`.
_OF_FIRST = ("output", "init_from", "board.histograms", "board.confusion")
_OF_MACHINE = (*_OF_FIRST, "runtime.threads", "runtime.device", "runtime.executor", "runtime.rank_patience")
# Keys of a data set that say where its files are.
_PLACES = ("path", "root", "folder", "images", "labels", "workers")


def config_facts(config: Config) -> dict[str, Any]:
    """The values of `config` by dotted key, but for keys of a machine: the facts that ranks of one work have in common."""
    return {key: value for key, value in _flat(config.model_dump(mode="json")) if not _is_of_machine(key)}


def check_same_work(world: World, what: str, config: Config | None, arguments: Mapping[str, Any]) -> None:
    """Check that all ranks were called alike, before they share a work. what: the work, in words.

    arguments: values of JSON by name. Raises SetupError, which names the first that differs, and PeerError.
    """
    if not world.alone:
        world.agree(dict(arguments), what, "call this with the same arguments on all ranks")
        world.agree({} if config is None else config_facts(config), what)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_of_machine(key: str) -> bool:
    parts = key.split(".")
    return key.startswith(_OF_MACHINE) or (parts[0] == "data" and parts[-1] in _PLACES)
