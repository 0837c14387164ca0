"""ppema's own operations in C++, compiled at the first use if there is a compiler, and kept in the user's cache.

    ppema_average: one update of several averages (average.cc)
    ppema_finite: whether all numbers of each of several tensors are finite (finite.cc)
    ppema_norm, ppema_norms: the norms of a step's gradients, and of its weights and their change (norms.cc)

They are Paddle custom operators for the CPU. They do not run on a GPU, since nobody has tried one there. One process builds
them while the others wait. Paddle's `cpp_extension.load` is not used: it needs Python's headers, takes a second even if
everything is built, and is not safe if two processes build at once.
"""

from __future__ import annotations

import os
from functools import lru_cache

import paddle

from ppema.errors import SetupError, one_line
from ppema.ir.native.compiler import command
from ppema.ir.native.library import register, say
from ppema.ir.native.user_cache import library_for

OFF = "PPEMA_NATIVE"  # 0 in this environment variable turns the operations off


@lru_cache(maxsize=1)
def why_missing() -> str | None:
    """Register the operations with Paddle, once per process. Returns None, or one line that says why there are none.

    Prints a line on stderr after a build, and after a failed one.
    """
    if os.environ.get(OFF) == "0":
        return f"{OFF}=0"
    if paddle.is_compiled_with_cuda():
        return "this is a GPU build of Paddle, and they are for the CPU"
    try:
        _load()
    except (SetupError, OSError) as error:
        reason = one_line(error)
        say(f"without its C++ operations, averages are updated by Paddle's, which are slower: {reason}")
        return reason
    return None


def _load() -> None:
    line, key = command()
    with library_for(key, line) as library:
        register(library)
