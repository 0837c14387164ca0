"""The place of a line of code, in the form of error messages."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType


def where(code: ModuleType | Path, line: str, cwd: Path | None = None) -> str:
    """ "file:number" of the only line in `code` with the text `line`. The file is relative to `cwd` or the current folder."""
    file = Path(str(code.__file__) if isinstance(code, ModuleType) else code)
    (number,) = (number for number, text in enumerate(file.read_text().splitlines(), start=1) if line in text)
    folder = cwd or Path(os.getcwd())
    return f"{file.relative_to(folder) if file.is_relative_to(folder) else file}:{number}"
