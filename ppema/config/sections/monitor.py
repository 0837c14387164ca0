"""The values of `train.monitor` and `train.early_stop.monitor`: "<weights>/<metric>", the first also a list of such."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from ppema.config.wording import fault, faults
from ppema.errors import Path
from ppema.values import shown

_MONITOR = "^[^/]+/.+$"


def _check_monitors(value: Any, _: ValidatorFunctionWrapHandler) -> str | tuple[str, ...] | None:
    if value is None or is_monitor(value):
        return value
    if not isinstance(value, (list, tuple)):
        raise fault(f"expected '<weights>/<metric>' such as 'raw/accuracy', got {shown(value)}")
    found: list[tuple[Path, str]] = []
    seen: set[str] = set()
    for index, each in enumerate(value):
        if not is_monitor(each):
            found.append(((index,), f"expected '<weights>/<metric>' such as 'raw/accuracy', got {shown(each)}"))
        elif each in seen:
            found.append(((index,), f"{each!r} is listed twice"))
        else:
            seen.add(each)
    if found:
        raise faults(found)
    return tuple(value)


def is_monitor(value: Any) -> bool:
    """Whether `value` is a string "<weights>/<metric>"."""
    return isinstance(value, str) and re.match(_MONITOR, value) is not None


def _check_one(value: Any, _: ValidatorFunctionWrapHandler) -> str | None:
    if value is None or is_monitor(value):
        return value
    raise fault(f"expected '<weights>/<metric>' such as 'raw/accuracy', got {shown(value)}")


_ONE_MONITOR = {"type": "string", "pattern": _MONITOR}
OneMonitor = Annotated[str | None, WrapValidator(_check_one), WithJsonSchema({"anyOf": [_ONE_MONITOR, {"type": "null"}]})]
Monitors = Annotated[
    str | tuple[str, ...] | None,
    WrapValidator(_check_monitors),
    WithJsonSchema({"anyOf": [_ONE_MONITOR, {"type": "array", "items": _ONE_MONITOR}, {"type": "null"}]}),
]
