"""Gives the start of a run, which the first rank has read from its folder, to the other ranks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.best import Best
from ppema.checkpoint.manifest import Owed
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.waiting import Waiting
from ppema.distributed.whole_arrays import copy_whole, put_together
from ppema.ir import scope
from ppema.optimizers.optimizer import lr_state, set_lr_state
from ppema.training.resuming.resume import Metrics, Start
from ppema.training.setup import TrainingRun

_WHAT = "the start of the run"


@dataclass(frozen=True, config=ConfigDict(ser_json_inf_nan="constants"))
class _Sent:
    """The fields of `Start` that every rank needs, and the state of the learning rate."""

    state: State
    begun: Begun
    best: dict[str, Best]
    metrics: Metrics
    interval: Losses
    waiting: Waiting | None
    owed: Owed | None
    lr: str


def shared_start(run: TrainingRun, start: Start | None) -> Start:
    """The start of the run on all ranks, with the first rank's variables in the scope of each.

    start: that of the first rank; None on the others. If a step has begun, the sums of its micro-batches stay with the first
    rank, and are zero on the others: they are added up over the ranks. Raises PeerError.
    """
    adapter = TypeAdapter(_Sent)
    content = b""
    if start is not None:
        fields = (start.state, start.begun, start.best, start.metrics, start.interval, start.waiting, start.owed)
        content = adapter.dump_json(_Sent(*fields, lr=json.dumps(lr_state(run.programs.lr))))
    sent = adapter.validate_json(run.world.from_first(content, _WHAT))
    names = sorted({name for names in run.state_parts().values() for name in names} - run.shards.variables)
    if sent.begun.batches:
        assert run.programs.accumulation is not None, "a step that has begun takes several micro-batches"
        names += sorted(run.programs.accumulation.before_of.values())
    _share_variables(run, names)
    run.shards.hand_out()
    if start is not None:
        return start
    set_lr_state(run.programs.lr, json.loads(sent.lr))
    begun = replace(sent.begun, weight=0.0, loss=0.0, parts=dict.fromkeys(sent.begun.parts, 0.0))
    return Start(sent.state, begun, sent.best, sent.metrics, sent.interval, sent.waiting, sent.owed)


def _share_variables(run: TrainingRun, names: list[str]) -> None:
    """Replace variables by those of the first rank, some of them at a time."""

    def fill(arrays: dict[str, np.ndarray]) -> None:
        if run.world.first:
            copy_whole({name: scope.shared(run.scope, name) for name in arrays}, arrays)

    shapes, types = dict[str, tuple[int, ...]](), dict[str, str]()
    for name in names:
        array = scope.shared(run.scope, name)
        shapes[name], types[name] = array.shape, array.dtype.name
    run.world.meet(_WHAT)
    for name, array in put_together(run.world, shapes, types, fill):
        if not run.world.first:
            scope.put(run.scope, {name: array})
