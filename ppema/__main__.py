"""python -m ppema COMMAND ...: the console script `ppema`, where that is not installed."""

import sys

# A worker process imports this module too, under another name and with the right path.
if __name__ == "__main__":
    # Python looks in the working directory first: see `ppema.user_code.modules`.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    from ppema.cli.main import main

    sys.exit(main(sys.argv[1:], "python -m ppema"))
