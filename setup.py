"""Adds the C++ operations to a wheel, compiled for the Paddle of the environment; pyproject.toml has everything else.

Paddle is not a requirement of the build: pip would download one, which may differ from the user's. A Python that has Paddle
compiles instead, outside of the build's isolation: that which runs pip, or that of the active virtual environment, or those of
PPEMA_BUILD_FOR. Without a compiler or Paddle, the wheel is pure, and one line says so. PPEMA_NATIVE=0 makes a pure wheel too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SCRIPT = Path(__file__).resolve().parent / "ppema/ir/native/for_wheel.py"
BUILT = "ppema/ir/native/built"


def compile_into(folder: Path) -> None:
    """Fill `folder` with the operations, for each Paddle that is asked for, or for the first one that is found."""
    # The build folder of a checkout may hold those of an earlier build.
    shutil.rmtree(folder, ignore_errors=True)
    if os.environ.get("PPEMA_NATIVE") == "0":
        return
    if wanted := os.environ.get("PPEMA_BUILD_FOR"):
        for python in wanted.split(os.pathsep):
            if reason := compiled_by(python, folder):
                sys.exit(f"PPEMA_BUILD_FOR: {python}: {reason}")
        return
    active = Path(os.environ.get("VIRTUAL_ENV", "")) / "bin/python"
    reasons = []
    for python in dict.fromkeys([sys.executable, str(active)] if active.is_absolute() else [sys.executable]):
        if (reason := compiled_by(python, folder)) is None:
            return
        reasons.append(reason)
    print(f"ppema: the wheel has no C++ operations, which are built at their first use: {'; '.join(reasons)}", file=sys.stderr)


def compiled_by(python: str, folder: Path) -> str | None:
    """Let `python` compile for its Paddle. Returns None, or the reason why it did not."""
    # -I: pip's isolated environments work by PYTHONPATH.
    try:
        done = subprocess.run([python, "-I", str(SCRIPT), str(folder)], stderr=subprocess.PIPE, text=True)
    except OSError as error:
        return f"{python} can not be run: {error.strerror}"
    said = done.stderr.splitlines()
    if done.returncode == 0:
        print(*[line for line in said if line.startswith("ppema: ")], sep="\n", file=sys.stderr)
        return None
    return said[-1] if said else f"{python} ended with code {done.returncode}"


class BuildWithOperations(build_py):
    """Compiles the operations beside the modules. An installation in place compiles at the first use instead."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            compile_into(Path(self.build_lib).resolve() / BUILT)


class WheelOfPlatform(bdist_wheel):
    """Names the platform if there are operations in the wheel, which any Python 3 can use."""

    def run(self) -> None:
        self.run_command("build")
        if any((Path(self.get_finalized_command("build_py").build_lib) / BUILT).glob("*.so")):
            self.root_is_pure = False
            self.distribution.has_ext_modules = lambda: True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


setup(cmdclass={"build_py": BuildWithOperations, "bdist_wheel": WheelOfPlatform})
