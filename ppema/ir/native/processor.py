"""The features of the processor, and those that a library needs which is not compiled for this very processor."""

from __future__ import annotations

import platform
from pathlib import Path

# The level of the x86-64 psABI, as the compiler names it, and its features, as Linux names them: processors since 2013 to 2015.
LEVEL = "x86-64-v3"
_FEATURES = {
    *("cx16", "lahf_lm", "popcnt", "ssse3", "sse4_1", "sse4_2"),
    *("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"),
}


def features() -> str:
    """The line of the processor's features, on which the result of -march=native depends. "": the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def lacks() -> list[str]:
    """The features of `LEVEL` that this processor lacks, or the kind of a processor that has no such level."""
    if platform.machine() != "x86_64":
        return [f"x86-64 (this is {platform.machine()})"]
    return sorted(_FEATURES - set(features().split()))
