"""The command lines. They run without the working directory on Python's path: see `ppema.user_code.modules`."""

import sys

if sys.argv[:1] == ["-m"] and not getattr(sys.flags, "safe_path", False):
    # `python -m ppema.cli.train` puts the working directory first on the path while Python looks for the command.
    del sys.path[0]
