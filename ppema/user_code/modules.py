"""Modules of the user's own, which a config names: found in its folders too, by the config and by each other, by nothing else.

These folders, the working directory and the config's own, are never on `sys.path`: a `tqdm.py` that happens to lie there would
run as soon as Paddle, or whatever Paddle imports, looks for an optional module of that name. A finder at the end of
`sys.meta_path` looks there instead, for imports by `import_module` below and by modules that came from there.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

_folders: ContextVar[tuple[str, ...]] = ContextVar("folders", default=())
_IMPORT_SYSTEM = ("importlib", "_frozen_importlib", "_frozen_importlib_external")


@contextmanager
def looking_in(folders: Sequence[str]) -> Iterator[None]:
    """Inside, `import_module` looks in `folders` too, in that order, after Python's own path."""
    before = _folders.set(tuple(folders))
    try:
        yield
    finally:
        _folders.reset(before)


def folders_looked_in() -> tuple[str, ...]:
    """Those of the `looking_in` around."""
    return _folders.get()


def import_module(name: str) -> ModuleType:
    """The module called `name`, imported where it was not yet. Raises whatever its code raises.

    Also ModuleNotFoundError, and ImportError where another module of that name came from the folders of another config.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    _check_same(name.partition(".")[0])
    return importlib.import_module(name)


def hidden_by(module: Any) -> str | None:
    """The file or folder of a module of the same name in the folders looked in, which `module` hides as it was found first."""
    spec = getattr(module, "__spec__", None)
    other = _in_folders(spec.name, folders_looked_in()) if spec and "." not in spec.name else None
    return None if other is None or place_of(other) == place_of(spec) else place_of(other)


def place_of(spec: ModuleSpec | None) -> str | None:
    """The file of a module, or the folders of a package that has none; None where it is built into Python."""
    if spec is None:
        return None
    if spec.has_location:
        return spec.origin
    return ", ".join(spec.submodule_search_locations or ()) or None


def _check_same(name: str) -> None:
    """What one config's folder gave must not stand for the module of that name of another config."""
    if name not in sys.modules or name not in _FINDER.found:
        return
    loaded, ours = sys.modules[name].__spec__, _in_folders(name, _folders.get())
    if place_of(loaded) != place_of(_in_folders(name, _FINDER.found[name])):
        return  # it came from Python's own path since
    if ours is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    if place_of(ours) != place_of(loaded):
        raise ImportError(
            f"{place_of(loaded)} was imported under that name before, for another config; here it is {place_of(ours)}: "
            "give it another name, or use a process for each"
        )


def _in_folders(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    return PathFinder.find_spec(name, list(folders)) if folders else None


class _Finder(MetaPathFinder):
    """found: the modules that it found, without submodules, and the folders in which they may look in their turn."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, ...]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> ModuleSpec | None:
        if path is not None:
            return None  # a submodule: where its package is
        folders = self._folders_of_importer()
        spec = _in_folders(fullname, folders)
        if spec is not None:
            self.found[fullname] = folders
        return spec

    def _folders_of_importer(self) -> tuple[str, ...]:
        """The folders in which whoever imports may look: the innermost frame outside Python's import system and this class."""
        frame = inspect.currentframe()
        while frame is not None:
            module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if frame.f_code is _DOOR:
                return _folders.get()
            if module not in _IMPORT_SYSTEM and frame.f_globals is not globals():
                return self.found.get(module, ())
            frame = frame.f_back
        return ()


_FINDER = _Finder()
_DOOR: CodeType = import_module.__code__
