"""Commands in separate processes, as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.device import environment as device

ROOT = Path(__file__).parents[2]
CNN = str(ROOT / "configs/digits_cnn.yml")


def tool(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tools/<name>.py in the folder `cwd`."""
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "tests"), **device(), **environment}
    command = [sys.executable, str(ROOT / f"tools/{name}.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=bare, capture_output=True, text=True, timeout=120, check=False)
