"""The files of compiled operations: their names, and how Paddle loads them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from paddle.utils.cpp_extension.extension_utils import load_op_meta_info_and_register_op

from ppema.errors import SetupError, one_line


def name(key: str, library: Path) -> str:
    return f"native-{key}-{hashlib.sha256(library.read_bytes()).hexdigest()}.so"


def register(library: Path) -> None:
    try:
        load_op_meta_info_and_register_op(str(library))
    except Exception as error:
        raise SetupError(f"{library} can not be loaded: {one_line(error)}") from error


def say(line: str) -> None:
    print(f"ppema: {line}", file=sys.stderr)
