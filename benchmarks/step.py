"""Measures a whole training step against PyTorch's and stock Paddle's, and the EMA's share of it."""

from __future__ import annotations

from benchmarks.measure import Figure, Found, Options
from benchmarks.peer import NO_TORCH, compare, has_torch
from benchmarks.subjects import SUBJECTS

OURS, STOCK, TORCH = (f"benchmarks.{name}:step" for name in ("ours", "stock", "torch_side"))


def measure(options: Options) -> Found:
    """The figures of each of `options.models`."""
    figures = [figure for name in options.models for figure in _of(name, options.rounds)]
    return Found(figures, [] if has_torch() else [NO_TORCH])


def _of(name: str, rounds: int) -> list[Figure]:
    sides = {
        "ours": (OURS, name, 1),
        "without": (OURS, name, 0),
        "official": (STOCK, name, True),
        "stock": (STOCK, name, False),
        **({"torch": (TORCH, name)} if has_torch() else {}),
    }
    seconds = dict(zip(sides, compare(rounds, *sides.values()), strict=True))
    subject, ours = SUBJECTS[name], seconds["ours"]
    title = f"{subject.title}: a step with EMA"
    figures = [Figure(title, "torch with foreach EMA", subject.aim, ours, seconds["torch"])] if "torch" in seconds else []
    return [
        *figures,
        Figure(title, "stock Paddle with the official pattern", "-", ours, seconds["official"]),
        Figure(title, "stock Paddle without EMA", "-", ours, seconds["stock"]),
        Figure(f"{subject.title}: what EMA adds", "a step without", subject.share, ours, seconds["without"], "share"),
    ]
