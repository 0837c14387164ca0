"""What tests of configs share: files in a folder of their own."""

from __future__ import annotations

import pytest
from support.config_files import MINIMAL


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes files into an empty working directory, which holds the minimal config already."""
    monkeypatch.chdir(tmp_path)

    def write(texts: dict[str, str] | None = None, **more: str | bytes) -> None:
        for name, text in {**(texts or {}), **more}.items():
            path = tmp_path / f"{name}.yml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    write(minimal=MINIMAL)
    return write
