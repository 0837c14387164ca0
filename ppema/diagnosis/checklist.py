"""The table of the checks that run in another process, in their order."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A check of an installation.

    name: of its row; function: the dotted name of a function of the device, which returns a Finding; needs: names of checks
    without which it can not succeed; seconds: the most that it may take.
    """

    name: str
    function: str
    needs: tuple[str, ...] = ()
    seconds: float = 60.0


LOADED, DEVICE, COMPUTES = "Paddle loads", "device", "device computes"
_RUNS = (LOADED, DEVICE, COMPUTES)
# The compiler may take minutes on a slow machine: see `ppema.ir.native.compiling.COMPILE_SECONDS`.
_COMPILE_SECONDS = 330.0

CHECKS = (
    Check(LOADED, "ppema.diagnosis.paddle_checks.loads", seconds=120.0),
    Check(DEVICE, "ppema.diagnosis.paddle_checks.device", (LOADED,)),
    Check("code for the GPU", "ppema.diagnosis.gpu_code.code", (LOADED, DEVICE)),
    Check(COMPUTES, "ppema.diagnosis.paddle_checks.computes", (LOADED, DEVICE)),
    Check("threads", "ppema.diagnosis.paddle_checks.threads", (LOADED,)),
    Check("oneDNN", "ppema.diagnosis.paddle_checks.onednn", (LOADED, DEVICE)),
    Check("C++ operations", "ppema.diagnosis.paddle_checks.native", (LOADED,), _COMPILE_SECONDS),
    Check("averages, C++", "ppema.diagnosis.average_checks.by_native", _RUNS, _COMPILE_SECONDS),
    Check("averages, Paddle", "ppema.diagnosis.average_checks.by_paddle", _RUNS),
    Check("test clone", "ppema.diagnosis.program_checks.test_clone", _RUNS),
    Check("swap", "ppema.diagnosis.program_checks.swap", _RUNS),
    Check("checkpoint", "ppema.diagnosis.run_checks.checkpoint", _RUNS),
    Check("bfloat16", "ppema.diagnosis.run_checks.bfloat16", _RUNS),
    Check("float16", "ppema.diagnosis.run_checks.float16", _RUNS),
    Check("2 ranks, gloo", "ppema.diagnosis.rank_checks.gloo", (LOADED,), 120.0),
    Check("2 ranks, NCCL", "ppema.diagnosis.rank_checks.nccl", _RUNS, 120.0),
    Check("VisualDL", "ppema.diagnosis.run_checks.visualdl"),
)
