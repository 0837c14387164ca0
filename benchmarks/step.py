"""Measures a whole training step with an average against those of PyTorch, Paddle in both modes, and JAX."""

from __future__ import annotations

import statistics

from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_COMPILER, NO_JAX, NO_TORCH, compare, has_compiler, has_jax, has_torch
from benchmarks.subjects import SUBJECTS

OURS, STOCK, DYNAMIC, TORCH, JAX = (
    f"benchmarks.{name}:step" for name in ("ours", "stock", "dynamic_side", "torch_side", "jax_side")
)
EAGER_AIM, COMPILED_AIM = 0.9, 1.0
IN_JAX = ("mlp",)  # the subjects that jax_side.py can build
# With the average's update compiled along or eager, torch.compile's faster form counts.
FORMS = {"whole": "torch.compile, foreach EMA compiled", "compiled": "torch.compile, foreach EMA eager"}


def measure(options: Options) -> Found:
    """The figures of each of `options.models`."""
    figures = [figure for name in options.models for figure in _of(name, options)]
    skipped = [] if has_torch() else [NO_TORCH]
    if has_torch() and not has_compiler():
        skipped.append(NO_COMPILER)
    if not has_jax() and not options.only_aims and set(options.models) & set(IN_JAX):
        skipped.append(NO_JAX)
    return Found(figures, skipped)


def _of(name: str, options: Options) -> list[Figure]:
    sides: dict[str, tuple[object, ...]] = {"ours": (OURS, name, 1)}
    if has_torch():
        sides["torch with foreach EMA"] = (TORCH, name)
        if has_compiler():
            sides |= {beside: (TORCH, name, form) for form, beside in FORMS.items()}
    if not options.only_aims:
        sides["Paddle in dynamic mode"] = (DYNAMIC, name)
        sides["stock Paddle with the official pattern"] = (STOCK, name, True)
        sides["stock Paddle without EMA"] = (STOCK, name, False)
        if name in IN_JAX and has_jax():
            sides["JAX with optax, one jitted function"] = (JAX, name)
    seconds = dict(zip(sides, compare(options.rounds, *sides.values()), strict=True))
    title, ours = f"{SUBJECTS[name].title}: a step with EMA", seconds.pop("ours")
    forms = [each for each in FORMS.values() if each in seconds]
    if forms:
        slower = max(forms, key=lambda each: statistics.median(seconds[each]))
        del seconds[slower]
    aims = {"torch with foreach EMA": EAGER_AIM, **dict.fromkeys(FORMS.values(), COMPILED_AIM)}
    return [Figure(title, beside, ours, theirs, aim=aims.get(beside)) for beside, theirs in seconds.items()]
