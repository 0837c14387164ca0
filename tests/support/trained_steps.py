"""A script of a rank: trains some steps of a config, and writes the state after each step.

    trained_steps.py CONFIG FOLDER STEPS NAN [KEY=VALUE ...]

NAN: "rank:step", where the first input of that rank becomes NaN in that step, from 0; "-" for none. Each rank writes digests of
its state, the losses, and what came after each meeting of the ranks to FOLDER/<rank>.json; rank 0 also all floating-point
arrays after each step to FOLDER/<step>.npz.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np


def main(config: str, folder: str, steps: str, nan: str, *overrides: str) -> None:
    from ppema.config import load_config
    from ppema.environment import choose_threads, load_paddle

    choose_threads(1)
    paddle = load_paddle()
    from ppema.checkpoint.begun import Begun
    from ppema.checkpoint.state import BEGINNING
    from ppema.data import never
    from ppema.training.batches import batches_after
    from ppema.training.parallel.shared_start import shared_start
    from ppema.training.resuming.resume import Start
    from ppema.training.setup import prepare_training
    from ppema.training.stepper import RankStepper, Stepper

    run = prepare_training(load_config(config, list(overrides)))
    ranks, said = run.world.ranks, {"digests": [], "losses": [], "skipped": [], "met": []}
    meet = run.world.meet
    run.world.meet = lambda what: (said["met"].append(what), meet(what))
    with closing(run), paddle.static.scope_guard(run.scope):
        if run.world.alone:
            stepper = Stepper(run, Begun())
        else:
            shared_start(run, Start() if ranks.first else None)
            stepper = RankStepper(run, Begun(), never)
        state = BEGINNING
        with closing(batches_after(run, state, int(steps))) as batches:
            while batch := next(islice(batches, 1), None):
                if nan == f"{ranks.rank}:{state.step}":
                    batch = replace(batch, arrays=(np.full_like(batch.arrays[0], np.nan), *batch.arrays[1:]))
                step = stepper.run(batch, state)
                if step is None:
                    continue
                state = state.advance(
                    step.samples, run.micro_batches.per_epoch, batches=step.batches, skipped=bool(step.skipped)
                )
                arrays = {f"{part}|{name}": array for part, named in run.read().items() for name, array in named.items()}
                said["digests"].append(hashlib.md5(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest())
                said["losses"].append(step.loss)
                said["skipped"].append(step.skipped is not None)
                if ranks.first:
                    np.savez(Path(folder) / f"{state.step}.npz", **arrays)
    said["samples"] = state.samples
    (Path(folder) / f"{ranks.rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
