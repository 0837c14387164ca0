"""Measures metrics on arrays, in batches of several sizes."""

from __future__ import annotations

import numpy as np
import paddle

from ppema.metrics import Gathered, build_metrics, place
from support.device import device_place


class Spec:
    """An entry of a config's metrics."""

    def __init__(self, name, called=None, **args):
        self.name, self.args, self.called = name, args, called
        self.figure = called or name.rpartition(".")[2]


def figures(spec, predictions, targets, sizes=(1, 7, None)):
    """The figures of one metric, the same for batches of each of `sizes` (None: one batch)."""
    found = []
    for gauges, parts in _run(build_metrics([spec]), predictions, targets, sizes):
        ((name, gauge),) = gauges.items()
        whole = Gathered()
        for part in parts[name]:
            whole.include(part)
        found.append(gauge.figures(whole))
    assert all(str(each) == str(found[0]) for each in found), found
    return found[0]


def figure(spec, predictions, targets, sizes=(1, 7, None)):
    """The only figure of a metric."""
    (value,) = figures(spec, predictions, targets, sizes).values()
    return value


def _run(metrics, predictions, targets, sizes):
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        feeds = [
            paddle.static.data(name, [-1, *array.shape[1:]], str(array.dtype))
            for name, array in (("predictions", predictions), ("targets", targets))
        ]
        gauges = {name: place(name, metric, *feeds) for name, metric in metrics.items()}
    variables = [variable for gauge in gauges.values() for variable in gauge.variables]
    executor, results = paddle.static.Executor(device_place()), []
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(startup)
        for size in sizes:
            parts = {name: [] for name in gauges}
            for number, start in enumerate(range(0, len(targets), size or len(targets))):
                batch = slice(start, start + (size or len(targets)))
                fed = {"predictions": np.ascontiguousarray(predictions[batch]), "targets": np.ascontiguousarray(targets[batch])}
                values = iter(executor.run(main, feed=fed, fetch_list=variables))
                for name, gauge in gauges.items():
                    part = Gathered()
                    gauge.gather(part, number, len(targets[batch]), [next(values) for _ in gauge.statistics])
                    parts[name].append(part)
            results.append((gauges, parts))
    return results


def values(spec, predictions, targets):
    """The values per sample of a metric that is their mean."""
    ((gauges, parts),) = _run(build_metrics([spec]), predictions, targets, [None])
    ((name, (part,)),) = parts.items()
    assert list(gauges[name].statistics) == ["values"]
    return part.whole()["values"].tolist()
