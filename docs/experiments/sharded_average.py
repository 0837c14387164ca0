"""Measures an average that ranks share against a whole one: the time of an update, memory, and the time to put it together.

    python -m paddle.distributed.launch --nproc_per_node 2 docs/experiments/sharded_average.py [MODEL]

MODEL: of `paddle.vision.models`, by default resnet50. Each rank has one thread. A program updates the averages of the model's
weights and computes nothing else. Both updates are measured in turn; figures are medians. At the end each bit of the shared
average is compared with the whole one. Rank 0 prints.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from ppema.environment import choose_threads, load_paddle

choose_threads(1)
load_paddle()

import numpy as np  # noqa: E402
import paddle  # noqa: E402

from ppema.averaging.decay import Constant  # noqa: E402
from ppema.averaging.rule import Rule  # noqa: E402
from ppema.distributed.sharded import ShardedAverages  # noqa: E402
from ppema.distributed.world import World, joined  # noqa: E402
from ppema.ir import backend, scope  # noqa: E402
from ppema.passes.average import Average  # noqa: E402
from ppema.passes.ema import UpdatePass, declare  # noqa: E402
from ppema.passes.target import TrainProgram, apply_passes  # noqa: E402
from ppema.ranks import Ranks  # noqa: E402

REPEATS = 15
PLACE = paddle.CPUPlace()


def updating(model: str, ranks: Ranks, where: object) -> tuple[Callable[[], object], Average]:
    """A function that updates an average of the weights of `model` in the scope `where`, and the average."""
    main, startup = paddle.static.Program(), paddle.static.Program()
    paddle.seed(0)
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        getattr(paddle.vision.models, model)()
        target = TrainProgram(main, startup)
        average = declare(target, "ema", Rule(Constant(0.9)), target.parameters, ranks=ranks)
        apply_passes(target, [UpdatePass()])
    executor = paddle.static.Executor(PLACE)
    with paddle.static.scope_guard(where):
        executor.run(startup)
        runner = backend().runner(executor, where, main, [average.step])
        runner.run({})
    return lambda: runner.run({}), average


def milliseconds(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - before)


def measure(world: World, model: str) -> None:
    scopes = paddle.static.Scope(), paddle.static.Scope()
    update_whole, whole = updating(model, Ranks(), scopes[0])
    update_shared, shared = updating(model, world.ranks, scopes[1])
    random = np.random.default_rng(0)
    for name in whole.shadow_of:
        value = random.standard_normal(scope.get(scopes[0], name).shape).astype("float32")
        for where in scopes:
            scope.put(where, {name: value})
    updates: tuple[list[float], list[float]] = [], []
    for _ in range(REPEATS):
        for times, where, update in zip(updates, scopes, (update_whole, update_shared), strict=True):
            with paddle.static.scope_guard(where):
                times.append(milliseconds(update))
    shards = ShardedAverages(world, scopes[1], {"ema": shared})
    raw = {name: scope.get(scopes[1], name).tobytes() for name in shared.shadow_of}

    def there_and_back() -> None:
        with shards.in_place("ema"):
            assert all(
                scope.get(scopes[1], name).tobytes() == scope.get(scopes[0], shadow).tobytes()
                for name, shadow in whole.shadow_of.items()
            ), "the shared average differs from the whole one"

    there_and_back()
    assert raw == {name: scope.get(scopes[1], name).tobytes() for name in shared.shadow_of}, "raw weights differ"
    together = [milliseconds(shards.assist) for _ in range(REPEATS)]
    sizes = [
        sum(scope.get(where, average.shadow_of[name]).nbytes for name in average.shadows)
        for where, average in zip(scopes, (whole, shared), strict=True)
    ]
    if world.first:
        print(f"{model}, {world.ranks.size} ranks, one thread each")
        for label, times, size in zip(("whole", "shared"), updates, sizes, strict=True):
            print(f"{label}: update {statistics.median(times):.1f} ms, shadows {size / 2**20:.1f} MiB a rank")
        print(f"putting it together: {statistics.median(together):.0f} ms")


if __name__ == "__main__":
    found = joined(PLACE)
    found.meet("the measurement")
    measure(found, *(sys.argv[1:] or ["resnet50"]))
    found.meet("the end")
    found.close()
