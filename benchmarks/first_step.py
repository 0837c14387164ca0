"""A process that trains one step: python -m benchmarks.first_step digits | resnet50

When it is done it prints the seconds of importing, building (data, programs, first weights) and the step, which lowers the
program, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise


def main(name: str) -> None:
    """Of configs/digits_cnn.yml, or of the measured ResNet-50."""
    marks = [time.perf_counter()]
    from ppema.environment import choose_threads, load_paddle

    choose_threads("auto")
    load_paddle()
    from benchmarks.ours import started
    from benchmarks.peer import ROOT
    from benchmarks.subjects import DECAY, SUBJECTS
    from ppema.config import Config, load_config

    marks.append(time.perf_counter())
    if name == "digits":
        config = load_config(ROOT / "configs/digits_cnn.yml", [])
    else:
        config = Config.model_validate(SUBJECTS[name].config({"ema": {"decay": DECAY}}))
    with started(config) as (run, work):
        batch = next(iter(run.train_loader.epoch(0)))
        marks.append(time.perf_counter())
        work(batch)
        marks.append(time.perf_counter())
        try:
            print(json.dumps([after - before for before, after in pairwise(marks)]), flush=True)
        except BrokenPipeError:
            os._exit(1)  # whoever asked has gone: nobody is to hear of it


if __name__ == "__main__":
    main(sys.argv[1])
