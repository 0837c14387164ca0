"""Train with several processes: python tools/launch.py -- --nproc_per_node 2 tools/train.py -c configs/digits_cnn.yml"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # ppema is in the folder above; nothing else is imported from there. Here, train.py and eval.py would be modules.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import ppema  # noqa: F401

    del sys.path[0]
    from ppema.cli.launch import main

    sys.exit(main(prog="python tools/launch.py"))
