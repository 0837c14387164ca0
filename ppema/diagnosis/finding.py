"""`Finding`, the result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckResult = Literal["ok", "warning", "skipped", "failed"]
RESULTS: tuple[CheckResult, ...] = ("ok", "warning", "skipped", "failed")


@dataclass(frozen=True)
class Finding:
    """What a check found. detail: in words, on one line, with what to do unless all is well."""

    result: CheckResult
    detail: str


def bounded(measured: float, bound: float, detail: str) -> Finding:
    """ "ok" if the error that was measured is within its bound, else "failed", with the bound. NaN is within none."""
    return Finding("ok", detail) if measured <= bound else Finding("failed", f"{detail}; at most {bound:g} is right")
