"""ppema's own operations in C++. The installed wheel carries them, or the first use compiles them into the user's cache.

    ppema_step: one update of weights, the optimizer's accumulators, and averages (step.cc)
    ppema_average: one update of several averages (average.cc)
    ppema_finite: whether all numbers of each of several tensors are finite (finite.cc)
    ppema_norm, ppema_norms: the norms of a step's gradients, and of its weights and their change (norms.cc)
    ppema_bias, ppema_softmax, ppema_bias_backward, ppema_relu_backward, ppema_gelu_backward,
    ppema_layer_norm_backward: parts of layers (layers.cc)

They are Paddle custom operators for the CPU. They do not run on a GPU, since nobody has tried one there. One process builds
them while the others wait. Paddle's `cpp_extension.load` is not used: it needs Python's headers, takes a second even if
everything is built, and is not safe if two processes build at once.
"""

from __future__ import annotations

import os
import shlex
from functools import lru_cache
from typing import NamedTuple

import paddle

from ppema.errors import SetupError, one_line
from ppema.ir.native.carried import FOLDER, usable
from ppema.ir.native.compiler import find_compiler
from ppema.ir.native.library import register, say
from ppema.ir.native.processor import LEVEL
from ppema.ir.native.user_cache import library_for

OFF = "PPEMA_NATIVE"  # 0 in this environment variable turns the operations off


class _Found(NamedTuple):
    """missing: why there are no operations, or None. origin: where those that Paddle has come from."""

    missing: str | None
    origin: str = ""


def why_missing() -> str | None:
    """Register the operations with Paddle, once per process. Returns None, or one line that says why there are none.

    Prints a line on stderr after a build, after a failed one, and if a wheel carries operations that can not be used.
    """
    return _found().missing


def origin() -> str:
    """Where the operations come from, in a few words. "": there are none."""
    return _found().origin


@lru_cache(maxsize=1)
def _found() -> _Found:
    if os.environ.get(OFF) == "0":
        return _Found(f"{OFF}=0")
    if paddle.is_compiled_with_cuda():
        return _Found("this is a GPU build of Paddle, and they are for the CPU")
    try:
        return _Found(None, _from_wheel() or _from_compiler())
    except (SetupError, OSError) as error:
        reason = one_line(error)
        say(f"without its C++ operations, optimizers, averages and layers use Paddle's, which are slower: {reason}")
        return _Found(reason)


def _from_wheel() -> str | None:
    try:
        library = usable(FOLDER)
        if library is None:
            return None
        register(library)
    except (SetupError, OSError) as error:
        say(f"the C++ operations that were installed with it are not used: {one_line(error)}")
        return None
    return f"from the wheel, for {LEVEL}"


def _from_compiler() -> str:
    compiler = find_compiler()
    with library_for(compiler) as library:
        register(library)
        return f"compiled by {shlex.join(compiler.command)} into {library.parent}"
