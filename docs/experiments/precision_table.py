"""What averages lose to rounding over a long run, and what compensation costs: the tables of docs/precision.md.

    python docs/experiments/precision_table.py

The averages are those of a real program, run 50,000 times; minutes on one core.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np

from ppema.averaging.decay import FLOATS, Constant, step_size, weight_after
from ppema.averaging.precision import rounded, widened
from ppema.environment import choose_threads, load_paddle

STEPS = 50_000
DECAYS = (0.999, 0.9999, 0.99999)
CASES = ("random walk", "noise", "settling")
PRECISIONS = ("float32", "compensated")


def trajectory(steps: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """The weights of each step, [3, size] float32, a row for each of CASES.

    A random walk; noise of a tenth of their size around a point; and what the end of a cosine schedule looks like: a drift of
    5 % that decays over 2,000 steps.
    """
    rng = np.random.default_rng(seed)
    walk, point = rng.normal(size=size), rng.normal(size=size)
    drift = 0.05 * rng.normal(size=size) * np.abs(point)
    for step in range(1, steps + 1):
        walk = walk + 1e-3 * rng.normal(size=size)
        noise = point + 0.1 * rng.normal(size=size) * np.abs(point)
        yield np.stack([walk, noise, point + drift * np.exp(-step / 2000)]).astype("float32")


def step_sizes(steps: int, decay: float) -> Iterator[float]:
    """α of each update, in float64."""
    schedule, weight = Constant(decay), 0.0
    for n in range(steps):
        d = schedule(float(n), 1, FLOATS)
        weight = weight_after(weight, d)
        yield step_size(weight, d)


def relative_errors(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """‖found - exact‖/‖exact‖ over the last axis."""
    return np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)


def errors_of_programs(steps: int = STEPS, size: int = 1000) -> dict[tuple[str, float], np.ndarray]:
    """The error of each of CASES after `steps` runs of one program that holds every average, by precision and decay."""
    import paddle

    from ppema.averaging.rule import Rule
    from ppema.ir import scope
    from ppema.passes.ema import UpdatePass, declare
    from ppema.passes.target import TrainProgram

    main, startup = paddle.static.Program(), paddle.static.Program()
    target, averages = TrainProgram(main, startup), {}
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        zero = paddle.nn.initializer.Constant(0.0)
        paddle.static.create_parameter([len(CASES), size], "float32", name="w", default_initializer=zero)
        parameters = target.parameters
        for index, key in enumerate((p, d) for p in PRECISIONS for d in DECAYS):
            rule = Rule(Constant(key[1]), precision=key[0])
            averages[key] = declare(target, f"a{index}", rule, parameters).shadow_of["w"]
        UpdatePass().apply(target)
    where, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    exact = dict.fromkeys(DECAYS, np.zeros((len(CASES), size)))
    with paddle.static.scope_guard(where):
        executor.run(startup)
        alphas = zip(*(step_sizes(steps, decay) for decay in DECAYS), strict=True)
        for values, sizes in zip(trajectory(steps, size), alphas, strict=True):
            scope.put(where, {"w": values})
            executor.run(main)
            exact = {d: exact[d] + alpha * (values - exact[d]) for d, alpha in zip(DECAYS, sizes, strict=True)}
    return {key: relative_errors(scope.get(where, shadow), exact[key[1]]) for key, shadow in averages.items()}


def errors_at_interval(every: int, steps: int = STEPS, size: int = 1000) -> dict[float, np.ndarray]:
    """The error of float32 shadows in numpy that take in the weights of every so many steps only; by decay."""
    errors = {}
    for decay in DECAYS:
        shadow, exact = np.zeros((len(CASES), size), "float32"), np.zeros((len(CASES), size))
        seen = islice(trajectory(steps, size), every - 1, None, every)
        for values, alpha in zip(seen, step_sizes(steps // every, decay**every), strict=True):
            shadow += np.float32(alpha) * (values - shadow)
            exact += alpha * (values - exact)
        errors[decay] = relative_errors(shadow, exact)
    return errors


def errors_of_half_shadows(dtype: str, steps: int = STEPS, size: int = 1000) -> dict[float, np.ndarray]:
    """The error that shadows of a half type would have, in numpy: the update in float32, its result rounded; by decay."""
    half = dict.fromkeys(DECAYS, np.zeros((len(CASES), size), "float32"))
    exact = dict.fromkeys(DECAYS, np.zeros((len(CASES), size)))
    alphas = zip(*(step_sizes(steps, decay) for decay in DECAYS), strict=True)
    for values, sizes in zip(trajectory(steps, size), alphas, strict=True):
        for decay, alpha in zip(DECAYS, sizes, strict=True):
            half[decay] = widened(rounded(half[decay] + np.float32(alpha) * (values - half[decay]), dtype))
            exact[decay] = exact[decay] + alpha * (values - exact[decay])
    return {decay: relative_errors(half[decay], exact[decay]) for decay in DECAYS}


def milliseconds_per_update(precision: str, runs: int = 200) -> float:
    """The time of a program that only updates the average of ResNet-18's 11.7 million numbers: the shortest of many runs."""
    import paddle

    from ppema.averaging.rule import Rule
    from ppema.passes.ema import UpdatePass, declare
    from ppema.passes.target import TrainProgram

    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
        paddle.vision.models.resnet18()
        target = TrainProgram(main, startup)
        declare(target, "ema", Rule(Constant(0.999), precision=precision), target.parameters)
        UpdatePass().apply(target)
    executor, took = paddle.static.Executor(paddle.CPUPlace()), []
    with paddle.static.scope_guard(paddle.static.Scope()):
        executor.run(startup)
        for _ in range(runs):
            begin = time.perf_counter()
            executor.run(main)
            took.append(time.perf_counter() - begin)
    return 1e3 * min(took)


def main() -> None:
    choose_threads(1)
    paddle = load_paddle()
    print(f"Paddle {paddle.__version__}, {STEPS:,} updates\n")
    print("| shadows | decay | " + " | ".join(CASES) + " |\n|---|---|" + "---|" * len(CASES))
    rows = dict(errors_of_programs())
    for dtype in ("bfloat16", "float16"):
        rows |= {(dtype, decay): errors for decay, errors in errors_of_half_shadows(dtype).items()}
    for (shadows, decay), errors in rows.items():
        print(f"| {shadows} | {decay} | " + " | ".join(f"{error:.1e}" for error in errors) + " |")
    print(f"\nfloat32 with update_every 100, at worst: {max(e.max() for e in errors_at_interval(100).values()):.1e}")
    for precision in PRECISIONS:
        print(f"{precision}: {milliseconds_per_update(precision):.1f} ms an update of ResNet-18")


if __name__ == "__main__":
    main()
