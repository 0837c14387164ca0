"""The layout to which Paddle converts results of oneDNN: thread-local state that outlives the program that set it.

A program with channels last, on oneDNN or not, sets it to channels last. Later programs on oneDNN, those of `paddle.inference`
among them, then fail or compute wrong numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import paddle

_CHANNELS_FIRST = 2  # NCHW among common::DataLayout
_OF_THREAD = "_ZN3phi25OneDNNContextThreadLocals5fetchEv"
_PUT_LAYOUT = "_ZN3phi25OneDNNContextThreadLocals4Body26set_cur_paddle_data_layoutEN6common10DataLayoutE"
# Paddle 3, and 2.6, below the package's folder.
_LIBRARIES = ("libs/libphi_core.so", "base/libpaddle.so")


def settle() -> None:
    """As `base.IR.settle`."""
    if layout := _thread_layout():
        of_thread, put = layout
        put(of_thread(), _CHANNELS_FIRST)


def can_settle() -> bool:
    """Whether this build of Paddle has the state."""
    return _thread_layout() is not None


@lru_cache(maxsize=1)
def _thread_layout() -> tuple[Callable[[], int], Callable[[int, int], None]] | None:
    """Two C++ functions: one returns this thread's state, the other writes the layout into it.

    Python can reach them only by their mangled names, as of Paddle 2.6 to 3.3. None if the library lacks them.
    """
    for file in _LIBRARIES:
        try:
            library = ctypes.CDLL(str(Path(paddle.__file__).parent / file))
            of_thread, put = library[_OF_THREAD], library[_PUT_LAYOUT]
        except (OSError, AttributeError):
            continue
        of_thread.restype, put.restype, put.argtypes = ctypes.c_void_p, None, (ctypes.c_void_p, ctypes.c_int)
        return of_thread, put
    return None
