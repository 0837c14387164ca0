"""Keeps gloo, the library that connects ranks on CPUs, from ending the process when the connection to a rank breaks."""

from __future__ import annotations

import ctypes
import functools
import signal
import time
from collections.abc import Callable
from contextlib import suppress

_NAME = 8  # offset of the mangled name in a std::type_info of the Itanium C++ ABI, after the pointer to its functions
_AGES = 86400.0  # seconds

_broken = False


def broken() -> bool:
    """Whether a thread of gloo failed in this process. It keeps its locks, so that Paddle's own end would wait for ever."""
    return _broken


@functools.cache
def outlive_gloo() -> object:
    """Let this process live on if a thread of gloo throws an error that nothing catches. Idempotent.

    At its time-out, gloo notes an error for each connection without taking the connection's lock. If several ranks time out at
    once, its other thread sees that a rank is gone, and throws because an error was noted already. C++ would end this process
    before it writes the line about the rank at fault. Here the thread sleeps instead, and the lookout ends the process.

    The result has to be kept. Nothing changes where libstdc++ is not the C++ library.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libstdc++.so.6")
        thrown = library.__cxa_current_exception_type
        thrown.restype = ctypes.c_void_p
        handler = ctypes.CFUNCTYPE(None)
        set_handler = library["_ZSt13set_terminatePFvvE"]  # std::set_terminate
        set_handler.argtypes, set_handler.restype = [handler], handler
        before: list[Callable[[], None]] = []

        def terminated() -> None:
            found = thrown()
            if found and b"4gloo" in (ctypes.c_char_p.from_address(found + _NAME).value or b""):
                _sleep_for_ever()
            before[0]()

        ours = handler(terminated)
        before.append(set_handler(ours))
        return ours
    return None


def _sleep_for_ever() -> None:
    global _broken
    _broken = True
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(_AGES)
