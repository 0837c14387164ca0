"""What is replaced in a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import paddle

from ppema.ir import backend


def quickened(build: Callable[[], list[Any]]) -> Counter[str]:
    """The replacements in a program. build: appends all, and returns what is fetched."""
    main = paddle.static.Program()
    with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, paddle.static.Program()):
        return backend().quicken(main, build())
