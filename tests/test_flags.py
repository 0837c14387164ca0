"""The library speaks of arguments; only command lines speak of flags."""

from __future__ import annotations

import ast
import re

import pytest
from support.house import modules

# A flag of ours, or a tool, in a text; one that is pieced together ends in its dashes.
FLAG = re.compile(r"(?:^|[\s'\"(`])(?:--(?:[a-z]|$)|-[co]\b)|\btools/")
# The command lines of the compiler, of git, of the processes of a sweep and of checks, and of VisualDL and its process.
_TRIAL, _BOARD = "ppema.experiments.sweeps.trial_process", ("ppema.log.board", "ppema.log.board_server")
_CHECKS = ("ppema.diagnosis.apart", "ppema.diagnosis.rank_checks")
# The rooms of our own, and of Paddle's launcher.
ROOMS = ("ppema.cli", "ppema.distributed.launching")
OTHER_FLAGS = {"ppema.ir.native.compiler", "ppema.log.history", _TRIAL, *_BOARD, *_CHECKS}


def flags(trees: dict[str, ast.Module]) -> list[tuple]:
    """Where texts in code, not docstrings, speak of command lines outside of their rooms."""
    found = []
    for name, tree in trees.items():
        if name.startswith(ROOMS) or name in OTHER_FLAGS:
            continue
        docs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
        found += [(name, each.lineno, each.value) for each in texts if each not in docs and FLAG.search(each.value)]
    return found


def test_only_command_lines_speak_of_flags():
    """An error of the library names arguments (`ppema.errors.Naming`), which the command lines translate."""
    assert flags(modules()) == []


@pytest.mark.parametrize(
    "text", ['"--step: 1"', '"give --decay 0.9"', 'f"--{option}: x"', 'f"-o {key}: x"', '"(tools/eval.py)"']
)
def test_a_flag_would_be_seen(text):
    assert flags({"ppema.metrics": ast.parse(f"raise ValueError({text})")})
