"""Write the report of a run or a sweep as one file of HTML: python tools/report.py runs/digits_cnn"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # ppema is in the folder above; nothing else is imported from there. Here, train.py and eval.py would be modules.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import ppema  # noqa: F401

    del sys.path[0]
    from ppema.cli.report import main

    sys.exit(main(prog="python tools/report.py"))
