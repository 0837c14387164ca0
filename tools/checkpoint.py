"""Look after the checkpoints of a run: python tools/checkpoint.py list runs/digits_cnn"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # ppema lies in the folder above, in which nothing else is looked for; in this one train.py and eval.py would be found too.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import ppema  # noqa: F401

    del sys.path[0]
    from ppema.cli.checkpoint import main

    sys.exit(main(prog="python tools/checkpoint.py"))
