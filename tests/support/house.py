"""The modules of ppema, read and not imported."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[2] / "ppema"


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The parsed modules by their full names."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("ppema", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found
