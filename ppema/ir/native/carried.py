"""The library that a wheel carries, so that nothing is compiled where ppema is installed.

A wheel travels. The library's name holds the version of Paddle, the level of processors that it is compiled for, a key of that
build of Paddle and of the sources, and the checksum of its content. It is loaded only if all of them are right here.
"""

from __future__ import annotations

from pathlib import Path

import paddle

from ppema.errors import SetupError
from ppema.ir.native.compiler import ROOM, digest, find_compiler, paddle_build
from ppema.ir.native.compiling import build
from ppema.ir.native.library import name
from ppema.ir.native.processor import LEVEL, lacks

FOLDER = ROOM / "built"
_REMEDY = "install ppema again"


def build_into(folder: Path) -> Path:
    """Compile the library of a wheel for the Paddle of this process into `folder`, and return its path.

    Raises SetupError if there is no compiler, it fails, or Paddle or the machine are not of a kind that has the operations.
    """
    if paddle.is_compiled_with_cuda():
        raise SetupError("this is a GPU build of Paddle, and they are for the CPU")
    if lacking := lacks():
        raise SetupError(f"the processor lacks {', '.join(lacking)}, which those of a wheel need")
    folder.mkdir(parents=True, exist_ok=True)
    made = build(folder, _key(), find_compiler(LEVEL))
    made.chmod(0o644)
    return made


def usable(folder: Path) -> Path | None:
    """The library in `folder` for this Paddle and processor. None: nothing was compiled into the installed wheel.

    Raises SetupError if there are libraries and none can be used, and OSError.
    """
    found = sorted(folder.glob("native-*.so"))
    if not found:
        return None
    ours = [path for path in found if path.name.startswith(f"native-{_key()}-")]
    if not ours:
        versions = " and ".join(sorted({path.name.split("-")[1] for path in found}))
        raise SetupError(f"they are for another Paddle, a build of {versions}, or for other sources: {_REMEDY}")
    if lacking := lacks():
        raise SetupError(f"the processor lacks {', '.join(lacking)}")
    for path in ours:
        if path.is_file() and path.name == name(_key(), path):
            return path
    raise SetupError(f"{ours[0]} is damaged, as its checksum is not that in its name: {_REMEDY}")


def _key() -> str:
    return f"{paddle.__version__}-{LEVEL}-{digest([paddle_build()])}"
