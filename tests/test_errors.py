"""Messages that name arguments: in the library's words, in those of a command line, and after a way through a pickle."""

from __future__ import annotations

import pickle

import pytest

from ppema.cli.common import flag
from ppema.errors import CheckpointError, ConfigError, Naming, PpemaError, Problem, Remedy, overridden

ERRORS = [
    (
        PpemaError(Naming("{step}: expected {} or more, got {!r}; not with {last_checkpoints}", 1, "{}")),
        "step: expected 1 or more, got '{}'; not with last_checkpoints",
        "--step: expected 1 or more, got '{}'; not with --last-checkpoints",
    ),
    (
        CheckpointError(Naming("{config}: {}", "{step}"), Remedy("to go on", resume="auto")),
        "config: {step}",
        "-c: {step}",
    ),
    (
        ConfigError(
            [Problem(("lr",), "low", overridden("lr")), Problem(("a", 0), "odd", overridden("a")), Problem((), "x", "f:1:1")]
        ),
        "override lr: low\noverride a: a.0: odd\nf:1:1: x",
        "-o lr: low\n-o a: a.0: odd\nf:1:1: x",
    ),
    (PpemaError("plain {step}"), "plain {step}", "plain {step}"),
    (PpemaError(), "", ""),
]


@pytest.mark.parametrize(("error", "in_python", "on_command_lines"), ERRORS)
def test_arguments_are_called_as_the_caller_knows_them(error, in_python, on_command_lines):
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert type(each) is type(error)
        assert (str(each), each.worded(flag)) == (in_python, on_command_lines)
