"""Checks that all ranks train the same run: before the first step, and in each state that is saved."""

from __future__ import annotations

import json
from typing import Any

import paddle
import xxhash

from ppema.errors import TrainingError
from ppema.ir import scope
from ppema.programs.same_work import config_facts
from ppema.training.setup import TrainingRun
from ppema.version import VERSION


def check_same_run(run: TrainingRun) -> None:
    """Check that all ranks have the same versions, numbers of samples and config, but for keys of a machine.

    Raises SetupError, which names the first that differs, and PeerError.
    """
    if run.world.alone:
        return
    facts: dict[str, Any] = {"the version of ppema": VERSION, "the version of Paddle": paddle.__version__}
    facts["the number of samples of data.train"] = run.train_loader.samples
    facts["the number of samples of data.eval"] = run.eval_loader.samples
    run.world.agree(facts | config_facts(run.config), "the run")


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
