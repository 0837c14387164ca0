"""Measure what ppema costs: python tools/benchmark.py [COMMAND]"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # ppema lies in the folder above, in which nothing else is looked for; in this one train.py and eval.py would be found too.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import ppema  # noqa: F401

    del sys.path[0]
    from ppema.cli.benchmark import main

    sys.exit(main(prog="python tools/benchmark.py"))
