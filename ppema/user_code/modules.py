"""Imports the user's own modules, which a config names, also from the working directory and the config's folder.

These folders are never on `sys.path`. Otherwise a `tqdm.py` in one of them would run as soon as Paddle, or a package that it
imports, looks for an optional module of that name. A finder at the end of `sys.meta_path` searches the folders instead. It
serves imports by `import_module` below, and imports by modules that it found.
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
    """Lets `import_module` search `folders` too, in that order, after Python's own path."""
    before = _folders.set(tuple(folders))
    try:
        yield
    finally:
        _folders.reset(before)


def folders_looked_in() -> tuple[str, ...]:
    """The folders of the enclosing `looking_in`; () without one."""
    return _folders.get()


def import_module(name: str) -> ModuleType:
    """Import the module `name` and return it.

    Raises ModuleNotFoundError if there is none. Raises ImportError if a module of that name was imported from the folders of
    another config. Exceptions of the module's own code pass through.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    _check_same(name.partition(".")[0])
    return importlib.import_module(name)


def hidden_by(module: Any) -> str | None:
    """The file or folder of a module of the same name in `folders_looked_in`, which `module` hides; None if there is none."""
    spec = getattr(module, "__spec__", None)
    other = _in_folders(spec.name, folders_looked_in()) if spec and "." not in spec.name else None
    return None if other is None or place_of(other) == place_of(spec) else place_of(other)


def place_of(spec: ModuleSpec | None) -> str | None:
    """The file of a module, or the folders of a package without a file; None for a module built into Python."""
    if spec is None:
        return None
    if spec.has_location:
        return spec.origin
    return ", ".join(spec.submodule_search_locations or ()) or None


def _check_same(name: str) -> None:
    """Raises if the imported module `name` came from another config's folder, and is not the one that this config names."""
    if name not in sys.modules or name not in _FINDER.found:
        return
    loaded, ours = sys.modules[name].__spec__, _in_folders(name, _folders.get())
    if place_of(loaded) != place_of(_in_folders(name, _FINDER.found[name])):
        return  # by now it comes from Python's own path
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
    """found: the top-level modules that it found, each with the folders from which it may import."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, ...]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /) -> ModuleSpec | None:
        if path is not None:
            return None  # a submodule: Python finds it in its package
        folders = self._folders_of_importer()
        spec = _in_folders(fullname, folders)
        if spec is not None:
            self.found[fullname] = folders
        return spec

    def _folders_of_importer(self) -> tuple[str, ...]:
        """The folders from which the importing code may import; () for code outside `import_module` and `found`.

        The importing code is the innermost frame outside Python's import system and this module.
        """
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
