"""Checks that all ranks train the same run: before the first step, and in each state that is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import paddle
import xxhash

from ppema.errors import TrainingError
from ppema.ir import scope
from ppema.training.setup import TrainingRun
from ppema.version import VERSION

# Keys that concern one machine, or the first rank alone. All ranks wait for the pictures of `board`.
_OF_FIRST = ("output", "init_from", "board.histograms", "board.confusion")
_OF_MACHINE = (*_OF_FIRST, "runtime.threads", "runtime.device", "runtime.executor", "runtime.rank_patience")
# Keys of a data set that say where its files are.
_PLACES = ("path", "root", "folder", "images", "labels", "workers")


def check_same_run(run: TrainingRun) -> None:
    """Check that all ranks have the same versions, numbers of samples and config, but for keys of a machine.

    Raises SetupError, which names the first that differs, and PeerError.
    """
    if run.world.alone:
        return
    facts: dict[str, Any] = {"the version of ppema": VERSION, "the version of Paddle": paddle.__version__}
    facts["the number of samples of data.train"] = run.train_loader.samples
    facts["the number of samples of data.eval"] = run.eval_loader.samples
    facts |= {key: value for key, value in _flat(run.config.model_dump(mode="json")) if not _is_of_machine(key)}
    run.world.agree(facts, "the run")


def check_same_state(run: TrainingRun, step: int) -> None:
    """Check that all ranks have the same weights, averages and optimizer's state, bit for bit, after step `step`.

    Parts of shared averages differ, and are left out. Raises TrainingError, which names the first variable that differs.
    """
    if run.world.alone:
        return
    shared = {f"average-{name}" for name in run.shards}
    names = sorted({name for part, names in run.state_parts().items() if part not in shared for name in names})
    mine = {name: xxhash.xxh3_64_hexdigest(scope.shared(run.scope, name).tobytes()) for name in names}
    first, *others = (json.loads(each) for each in run.world.gather(json.dumps(mine).encode(), "the comparison of states"))
    for rank, theirs in enumerate(others, 1):
        if theirs != first:
            name = next(name for name in names if theirs.get(name) != first.get(name))
            raise TrainingError(
                f"after step {step}, {name} of rank {rank} has other bits than that of rank 0, so the state is not saved: the "
                "model or a pass counts samples in a way that ranks do not sum, or the machines differ"
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_of_machine(key: str) -> bool:
    parts = key.split(".")
    return key.startswith(_OF_MACHINE) or (parts[0] == "data" and parts[-1] in _PLACES)
