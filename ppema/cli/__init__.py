"""The command lines. Python's path is without the working directory when they run: see `ppema.user_code.modules`."""

import sys

if sys.argv[:1] == ["-m"] and not getattr(sys.flags, "safe_path", False):
    # Python looks a command up that is run by `python -m ppema.cli.train`, with the working directory in front.
    del sys.path[0]
