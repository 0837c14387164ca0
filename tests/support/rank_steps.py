"""Ranks that run steps, each of which waits for all ranks, until one of them has a fault. A script for Paddle's launcher.

Arguments: the rank at fault, the fault, `runtime.rank_patience`, and the number of steps. The fault comes in step FAULT_STEP.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import numpy as np

from ppema.environment import choose_threads, load_paddle
from ppema.errors import PeerError, TrainingError

FAULT_STEP = 60


def spin() -> None:
    while True:
        pass


def evaluate(world, faulty: int) -> None:
    """Share the batches of an evaluation, of which the rank at fault never gets its first."""
    from ppema.distributed.shared_work import SharedWork

    work = SharedWork(world, "the evaluation")
    for _ in work.each(iter(spin, None) if world.ranks.rank == faulty else range(3)):
        pass
    work.gather(bytes)


FAULTS = {
    "none": lambda: None,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "hanging": spin,
    "blocked": lambda: ctypes.PyDLL(None).sleep(1000),  # which keeps the interpreter's lock
    "slow": lambda: time.sleep(33),  # longer than gloo waits
}


def main() -> int:
    faulty, fault, patience, steps = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    choose_threads(1)
    paddle = load_paddle()
    # They load paddle, in which threads and static mode come first.
    from ppema.distributed.world import joined
    from ppema.ir import backend
    from ppema.programs.executor import Executor

    place, scope = paddle.CPUPlace(), paddle.static.Scope()
    world = joined(place, patience)
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        total = backend().append_all_reduce(paddle.static.data("x", [4], "float32") * 1)
    executor = Executor(place, scope)
    try:
        with world.answering(), paddle.static.scope_guard(scope):
            for step in range(1, steps + 1):
                world.enter(f"reading data for step {step}")
                if step == FAULT_STEP and world.ranks.rank == faulty:
                    print("the fault", flush=True)
                    if fault == "raising":
                        raise ValueError("a bad sample")
                    FAULTS.get(fault, FAULTS["none"])()
                if step == FAULT_STEP and fault == "evaluating":
                    evaluate(world, faulty)
                if fault == "slow":
                    world.meet(f"step {step}")
                world.enter(f"running step {step}", "together")
                try:
                    executor.run(program, {"x": np.ones(4, np.float32)}, [total])
                except TrainingError as error:
                    raise world.explain(error) from error
                time.sleep(0.01)
    except PeerError as error:
        return error.exit_code
    except ValueError as error:
        print(error, flush=True)
        return 1
    world.close()
    print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
