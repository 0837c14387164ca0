"""Write weights of a run to a file for other programs: python tools/export.py -c CONFIG --to ema.pdparams --weights ema"""

import sys
from pathlib import Path

# In place of this folder, whose train.py and eval.py would hide modules of those names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from ppema.cli.export import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
