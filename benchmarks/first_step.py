"""Trains one step in a new process: python -m benchmarks.first_step digits | resnet50

At the end it prints a JSON list of seconds: importing; building data, programs and initial weights; and the step, in which
Paddle lowers the program.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise


def main(name: str) -> None:
    """name: "digits" for configs/digits_cnn.yml, or the key of one of SUBJECTS."""
    marks = [time.perf_counter()]
    from ppema.environment import choose_threads, load_paddle

    choose_threads("auto")
    load_paddle()
    from benchmarks.ours import started
    from benchmarks.peer import ROOT
    from benchmarks.subjects import DECAY, SUBJECTS
    from ppema.config import Config, load_config
    from ppema.training import loop  # noqa: F401

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
            os._exit(1)  # the parent process has ended: exit silently


if __name__ == "__main__":
    main(sys.argv[1])
