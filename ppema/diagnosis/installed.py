"""What can be found out about an installation without Paddle."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Iterator, Mapping

from ppema.diagnosis.finding import Finding
from ppema.environment import BUILDS, available_cores, available_memory, installed_builds, processor
from ppema.version import VERSION

# Those of requirements-core.txt.
PACKAGES = (
    *("numpy", "pyyaml", "scipy", "pydantic", "safetensors", "ml_dtypes", "xxhash", "visualdl", "rich", "optuna", "pillow"),
    *("jinja2", "matplotlib", "setuptools"),
)
# Environment variables that change what Paddle, OpenMP, the communicators, or ppema do.
_TELLING = re.compile(r"(FLAGS|GLOG|OMP|KMP|GOMP|MKL|NCCL|GLOO|PPEMA)_\w+|CUDA_VISIBLE_DEVICES|LD_PRELOAD|CXX|MALLOC_\w+")
INSTALL = "pip install 'paddlepaddle>=3.0,<3.4' for a CPU; docs/doctor.md names the builds for GPUs"


def installed() -> Iterator[tuple[str, Finding]]:
    """The names and findings of these checks."""
    yield "ppema", Finding("ok", f"{VERSION}, Python {platform.python_version()}")
    yield "platform", system()
    yield "packages", packages()
    yield "environment", environment(os.environ)
    yield "Paddle installed", builds()


def system() -> Finding:
    """The system and the processor."""
    memory = available_memory() / 2**30
    name = f"{platform.system()} {platform.release()} {platform.machine()}, {' '.join(platform.libc_ver())}".rstrip(", ")
    detail = f"{name}; {processor()}, {available_cores()} cores, {memory:.1f} GiB of memory free"
    if platform.system() != "Linux":
        return Finding("warning", f"{detail}; ppema is tested on Linux only")
    return Finding("ok", detail)


def packages() -> Finding:
    """The versions of what ppema needs beside Paddle."""
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version is None]
    if missing:
        return Finding("failed", f"missing: {', '.join(missing)}; pip install {' '.join(missing)}")
    return Finding("ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def environment(variables: Mapping[str, str]) -> Finding:
    """The environment variables that change results or speed."""
    found = [f"{name}={value}" for name, value in sorted(variables.items()) if _TELLING.fullmatch(name)]
    return Finding("ok", " ".join(found) or "no variable that changes how Paddle or ppema works")


def builds() -> Finding:
    """The distributions of Paddle that pip installed. There must be one at most."""
    found = installed_builds()
    named = ", ".join(f"{name} {_version(name)}" for name in found)
    if len(found) > 1:
        return Finding(
            "failed",
            f"{named}: they overwrite each other's files; pip uninstall {' '.join(BUILDS)}, and install one of them again",
        )
    if found:
        return Finding("ok", named)
    spec = importlib.util.find_spec("paddle")
    if spec is None:
        return Finding("failed", f"Paddle is missing: {INSTALL}")
    return Finding("warning", f"pip knows none, and Paddle is in {spec.origin}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
