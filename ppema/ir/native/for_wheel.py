"""Run by setup.py, as a script of the Python whose Paddle a wheel is for: compiles the operations into the folder argv[1].

That Python has Paddle, but maybe nothing else that ppema needs, and ppema itself is not installed yet. One line on stderr says
what was built, or why nothing was.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path


def main() -> str | None:
    """The reason why nothing was built, or None."""
    room = Path(__file__).parents[1]
    sys.path.insert(0, str(room.parents[1]))
    # Without this, `ppema.ir` would import what is not installed yet.
    bare = types.ModuleType("ppema.ir")
    bare.__path__ = [str(room)]
    sys.modules["ppema.ir"] = bare
    from ppema.errors import SetupError, one_line

    try:
        from ppema.ir.native.carried import build_into

        build_into(Path(sys.argv[1]))
    except ModuleNotFoundError as error:
        return f"{sys.executable} has no {error.name}"
    except (SetupError, ImportError, OSError) as error:
        return one_line(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
