"""The programs before and after the passes, operation by operation, as golden files for each side of the seam.

A line is an operation, indented by the depth of its block: its kind, its is_test switch if it has one, and the variables that
it reads and writes. Lines that begin with "+" were added by the passes. After an intended change, rewrite the files on both
Paddles and read the difference: PPEMA_WRITE_GOLDEN=1 python -m pytest tests/passes/test_golden.py
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from difflib import ndiff
from pathlib import Path

import paddle
import pytest
from support.appended import guarded_by
from support.kernels import paddle_kernels

from ppema.averaging.decay import Constant, InverseGamma
from ppema.averaging.rule import Rule
from ppema.ir import backend
from ppema.ir.native import why_missing
from ppema.passes.average import read_shadows
from ppema.passes.clone import clone_for_test
from ppema.passes.ema import EmaPass, UpdatePass
from ppema.passes.finite import FinitePass
from ppema.passes.fused.fuse import FusePass
from ppema.passes.norms import KeepPass, NormsPass
from ppema.passes.recalibrate import recalibration
from ppema.passes.select import Selection
from ppema.passes.switch import SwitchPass
from ppema.passes.target import TrainProgram, apply_passes
from ppema.programs.step import BackwardPass, OptimizePass

FOLDER = Path(__file__).parent / "golden"
DECAY = Constant(0.99)

# Cases without "native" use Paddle's own operations.
CASES = {
    "average": (Selection(), Rule(DECAY), None),
    "copy": (Selection(batch_norm="copy"), Rule(DECAY), None),
    "recalibrate": (Selection(batch_norm="recalibrate"), Rule(DECAY), None),
    "selected": (Selection(include=("linear",), exclude=("b_0",)), Rule(DECAY), None),
    "interval": (Selection(), Rule(InverseGamma(0.99), start=10, update_every=4), None),
    "tensorflow": (Selection(), Rule(DECAY, bias_correction=False), None),
    "compensated": (Selection(include=("linear",)), Rule(DECAY, precision="compensated"), None),
    "switch": (Selection(), Rule(DECAY), SwitchPass("ema", 100, 0.5)),
    "native": (Selection(), Rule(InverseGamma(0.99), start=10, update_every=4), None),
    "native_compensated": (Selection(batch_norm="recalibrate"), Rule(DECAY, precision="compensated"), None),
}


def listing(program) -> list[str]:
    lines = []
    for op in backend().operations(program):
        if op.kind in ("data", "builtin.parameter"):
            continue  # PIR's declarations of the variables under "state"
        switch = "" if op.is_test is None else f"  is_test={op.is_test}"
        reads = "  " + ", ".join(op.reads) if op.reads else ""
        writes = "  -> " + ", ".join(op.writes) if op.writes else ""
        lines.append(f"{'    ' * op.depth}{op.kind}{switch}{reads}{writes}")
    return lines


def changes(before: list[str], after: list[str]) -> list[str]:
    return [line.rstrip() for line in ndiff(before, after) if not line.startswith("?")]


def report(built, selection, rule, switch) -> str:
    ir = backend()
    with built.guard():
        test, _ = clone_for_test(built.main, [built.logits])
    built.minimize()
    before = listing(built.main)
    target = TrainProgram(built.main, built.startup)
    with built.guard():
        apply_passes(target, [EmaPass("ema", rule, selection), UpdatePass(), *([switch] if switch else [])])
    average = target.averages["ema"]
    rewired, _ = ir.clone(test, [])
    read_shadows(ir, rewired, average.shadow_of)
    parts = {
        "train program": changes(before, listing(built.main)),
        "state": changes(ir.state_names(test), ir.state_names(built.main)),
        "test program": changes(listing(test), listing(rewired)),
        "what the test program reads": changes(ir.state_names(test), ir.state_names(rewired)),
    }
    if average.recalibrated:
        made = recalibration(test, average.recalibrated, average.shadow_of)
        parts["recalibration program"] = changes(listing(test), listing(made.program))
    return as_text(parts)


def guard_report(built, every: int = 1, ranks: int = 1) -> str:
    """A program as a config builds it: forward and backward pass, then the optimizer and an average behind the guard.

    every: the number of micro-batches in a step; ranks: the number of processes that train.
    """
    names, plain, momentum = backend().state_names, type(built)(), paddle.optimizer.Momentum(0.1, 0.9)
    with plain.guard():
        paddle.optimizer.Momentum(0.1, 0.9).backward(plain.loss)
    with built.guard():
        averages = [EmaPass("ema", Rule(DECAY)), UpdatePass()]
        guarded_by(built.main, built.startup, built.loss, momentum, averages, every=every, ranks=ranks)
    parts = {
        "train program": changes(listing(plain.main), listing(built.main)),
        "state": changes(names(plain.main), names(built.main)),
    }
    return as_text(parts)


def as_text(parts: dict[str, list[str]]) -> str:
    return "\n".join(line for title, lines in parts.items() for line in (f"# {title}", *lines, ""))


def compare(case: str, found: str) -> None:
    """Compare `found` with the golden file of `case`. With PPEMA_WRITE_GOLDEN the file is written first."""
    file = FOLDER / type(backend()).__name__.lower() / f"{case}.txt"
    if os.environ.get("PPEMA_WRITE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_programs_before_and_after(built, case):
    with kernels_of(case):
        compare(case, report(built, *CASES[case]))


@pytest.mark.parametrize("case", ["finite", "native_finite"])
def test_a_guarded_program_before_and_after(built, case):
    with kernels_of(case):
        compare(case, guard_report(built))


def test_a_program_with_micro_batches_before_and_after(built):
    with kernels_of("native_accumulate"):
        compare("native_accumulate", guard_report(built, every=4))


@pytest.mark.parametrize(("case", "every"), [("native_reduce", 1), ("native_reduce_accumulate", 4)])
def test_a_program_of_a_rank_before_and_after(built, case, every):
    with kernels_of(case):
        compare(case, guard_report(built, every=every, ranks=2))


@pytest.mark.parametrize(("case", "branch"), [("native_fused", None), ("native_fused_branch", "a test")])
def test_a_program_with_one_operation_for_the_step_before_and_after(built, case, branch):
    plain, momentum = type(built)(), paddle.optimizer.Momentum(0.1, 0.9)
    with kernels_of(case), built.guard():
        target = TrainProgram(built.main, built.startup, built.loss)
        fuse, averages = FusePass(momentum, branch=branch), [EmaPass("ema", Rule(DECAY)), UpdatePass()]
        apply_passes(target, [BackwardPass(momentum), fuse, FinitePass(), OptimizePass(momentum), *averages])
    with kernels_of(case), plain.guard():
        averages = [EmaPass("ema", Rule(DECAY)), UpdatePass()]
        guarded_by(plain.main, plain.startup, plain.loss, paddle.optimizer.Momentum(0.1, 0.9), averages)
    names = backend().state_names
    assert names(plain.main) == names(built.main)
    compare(case, as_text({"train program": changes(listing(plain.main), listing(built.main))}))


@pytest.mark.parametrize("case", ["norms", "native_norms"])
def test_a_program_that_measures_norms_before_and_after(built, case):
    momentum = paddle.optimizer.Momentum(0.1, 0.9)
    with kernels_of(case), built.guard():
        target = TrainProgram(built.main, built.startup, built.loss)
        apply_passes(target, [BackwardPass(momentum), FinitePass(), KeepPass(), OptimizePass(momentum), NormsPass()])
    plain = type(built)()
    with kernels_of(case), plain.guard():
        guarded_by(plain.main, plain.startup, plain.loss, paddle.optimizer.Momentum(0.1, 0.9))
    names = backend().state_names
    parts = {
        "train program": changes(listing(plain.main), listing(built.main)),
        "state": changes(names(plain.main), names(built.main)),
    }
    compare(case, as_text(parts))


def kernels_of(case: str):
    if not case.startswith("native"):
        return paddle_kernels()
    if reason := why_missing():
        pytest.skip(f"there are no C++ operations: {reason}")
    return nullcontext()
