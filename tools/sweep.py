"""Train a config at many points: python tools/sweep.py -c configs/digits_mlp.yml --over lr=1e-3,1e-2"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # ppema is in the folder above; nothing else is imported from there. Here, sweep.py and eval.py would be modules.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import ppema  # noqa: F401

    del sys.path[0]
    from ppema.cli.sweep import main

    sys.exit(main(prog="python tools/sweep.py"))
