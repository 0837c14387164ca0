"""Measure what ppema costs: python tools/benchmark.py [COMMAND]"""

import sys
from pathlib import Path

# In place of this folder, whose train.py and eval.py would hide modules of those names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from ppema.cli.benchmark import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
