"""The device of the tests: the environment variable PPEMA_TEST_DEVICE, which is "cpu" (the default), "gpu" or "gpu:N"."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

from ppema.environment import installed_builds

_TESTED, _VISIBLE = "PPEMA_TEST_DEVICE", "CUDA_VISIBLE_DEVICES"


def environment() -> dict[str, str]:
    """The variables that choose the device for another process: all other GPUs are hidden, so that device "auto" is this one.

    A Paddle for CPUs needs none, and its launcher would take a list without GPUs as one of devices. Raises ValueError if
    PPEMA_TEST_DEVICE has another form.
    """
    tested = os.environ.get(_TESTED, "cpu")
    found = re.fullmatch(r"cpu|gpu(?::(\d+))?", tested)
    if found is None:
        raise ValueError(f"{_TESTED}: expected cpu, gpu or gpu:N, got {tested!r}")
    if tested == "cpu":
        return {_TESTED: "cpu"} | ({_VISIBLE: ""} if "paddlepaddle-gpu" in installed_builds() else {})
    number, seen = int(found[1] or 0), os.environ.get(_VISIBLE, "").split(",")
    # The chosen GPU is the first one of that process, and of those that it starts.
    return {_TESTED: "gpu", _VISIBLE: seen[number] if number < len(seen) and seen[number] else str(number)}


@lru_cache(maxsize=1)
def device_place() -> Any:
    """The paddle place of the device. Raises SetupError if there is no such GPU: an Executor on it would end the process."""
    from ppema.programs.device import place_of

    return place_of(environment()[_TESTED])
