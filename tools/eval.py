"""Measure a checkpoint's weights: python tools/eval.py -c configs/digits_cnn.yml --weights ema"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppema.cli.eval import main

if __name__ == "__main__":
    sys.exit(main())
