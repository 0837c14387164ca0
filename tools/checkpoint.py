"""Look after the checkpoints of a run: python tools/checkpoint.py list runs/digits_cnn"""

import sys
from pathlib import Path

# In place of this folder, whose train.py and eval.py would hide modules of those names.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from ppema.cli.checkpoint import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
