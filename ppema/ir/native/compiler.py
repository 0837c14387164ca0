"""The command lines of the C++ compiler, and the libraries of Paddle that its result is linked with."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle.base import libpaddle

from ppema.errors import SetupError
from ppema.ir.native.processor import features

ROOM = Path(__file__).parent
NATIVE = "native"
# The first bytes of a library hold its build ID and begin its table of symbols.
_IDENTIFYING = 1 << 16


@dataclass(frozen=True)
class Compiler:
    """command: a compiler, maybe with a launcher and options. programs: a text that differs for other programs of these names.
    march: the processor that it is for.
    """

    command: Sequence[str]
    programs: str
    march: str

    def compiling(self, source: Path, result: Path) -> list[str]:
        """The command that compiles one source."""
        include = paddle.sysconfig.get_include()
        return [
            *(*self.command, "-std=c++17", "-O3", f"-march={self.march}", "-fopenmp", "-fPIC"),
            # No fused operations: each rounds once, so a compensated average is the same on every machine.
            "-ffp-contract=off",
            # Without it a loop with a square root takes one element at a time, to set errno.
            "-fno-math-errno",
            # Without it a choice between two numbers is a branch, which takes one element at a time, to keep the traps of both.
            "-fno-trapping-math",
            *("-isystem", include, "-isystem", f"{include}/third_party", "-DPADDLE_WITH_CUSTOM_KERNEL"),
            *("-c", str(source), "-o", str(result)),
        ]

    def linking(self, compiled: Iterable[Path], result: Path) -> list[str]:
        """The command that links what was compiled. The result finds those of Paddle, which are loaded, by name."""
        linked = paddle_libraries()
        return [
            *(*self.command, "-shared", *map(str, compiled)),
            *(f"-L{folder}" for folder in dict.fromkeys(library.parent for library in linked)),
            *(f"-l:{library.name}" for library in linked),
            # A missing symbol of Paddle fails at linking or loading; otherwise its first call would end the process.
            *("-Wl,-z,defs", "-Wl,-z,now", "-Wl,--allow-shlib-undefined"),
            *("-o", str(result)),
        ]

    def key(self) -> str:
        """A key of everything that the result depends on."""
        source, result = Path("source"), Path("result")
        commands = [*self.compiling(source, result), *self.linking([result], result)]
        return digest([paddle_build(), self.programs, features(), *commands])


def find_compiler(march: str = NATIVE) -> Compiler:
    """The compiler of $CXX or of the system. Raises SetupError if there is none."""
    # CXX may include a launcher and options, as in make: "ccache g++".
    command = _words(os.environ.get("CXX", "")) or list(filter(shutil.which, ("g++", "c++")))[:1]
    if not command:
        raise SetupError("there is no C++ compiler (g++)")
    if shutil.which(command[0]) is None:
        raise SetupError(f"{shlex.join(command)} can not be run: there is no program {command[0]}")
    # To ask a compiler for its version would take longer than anything else that a start does for the operations.
    programs = [os.stat(program) for word in command if (program := shutil.which(word))]
    return Compiler(command, " ".join(f"{each.st_size} {each.st_mtime_ns}" for each in programs), march)


def paddle_libraries() -> list[Path]:
    """The libraries of Paddle whose symbols the operations use, and its OpenMP: a second one would add threads of its own."""
    core, folder = Path(libpaddle.__file__), Path(paddle.sysconfig.get_lib())
    others = [folder / name for name in ("libphi.so", "libphi_core.so", "libcommon.so", "libiomp5.so")]
    return [core, *(library for library in others if library.exists())]


def paddle_build() -> str:
    """A text that differs between any two builds of Paddle: version, commit, and what identifies each of its libraries."""
    texts = [paddle.__version__, paddle.__git_commit__]
    for library in paddle_libraries():
        with library.open("rb") as file:
            head = file.read(_IDENTIFYING)
        texts += [library.name, str(library.stat().st_size), hashlib.sha256(head).hexdigest()]
    return " ".join(texts)


def digest(texts: Iterable[str]) -> str:
    """A short hash of `texts` and of the sources."""
    contents = [path.read_bytes() for path in sorted(ROOM.glob("*.[ch]*"))]
    return hashlib.sha256(b"\0".join([*(text.encode() for text in texts), *contents])).hexdigest()[:16]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise SetupError(f"CXX={command}: {error}") from error
