"""Train what a config describes: python tools/train.py -c configs/digits_cnn.yml"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppema.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
