"""A command validates its config once, from the file to the last line that it prints."""

from __future__ import annotations

import pytest
from support.configs import SMALL, write_config

import ppema
from ppema.cli import average, eval, export, show, train
from ppema.config import schema
from ppema.config.load import load_config
from ppema.errors import CheckpointError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_config(folder / "small.yml", SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train.main(["-c", "small.yml"]) == 0
    return folder


@pytest.fixture
def validations(trained, monkeypatch):
    """The whole configs that are validated, recorded at the first step of each validation."""
    found, real = [], schema._unknown_weights
    monkeypatch.setattr(schema, "_unknown_weights", lambda value: found.append(value) or real(value))
    monkeypatch.chdir(trained)
    return found


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (train, ["-o", "output=runs/new"]),
        (train, []),  # the run goes on
        (train, ["--dry-run"]),
        (eval, []),
        (export, ["--to", "x.safetensors"]),
        (average, ["--last-checkpoints", "2"]),
        (show, []),
        (show, ["--resolved"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.__name__.rpartition(".")[2],
)
def test_a_command(validations, command, arguments):
    assert command.main(["-c", "small.yml", *arguments]) == 0
    assert len(validations) == 1


def test_the_config_of_a_run(validations):
    assert ppema.run("runs/small").config == load_config("small.yml")
    assert len(validations) == 2


def test_the_other_config_of_a_checkpoint_is_validated_too(validations):
    """An older config may lack keys that were added since."""
    with pytest.raises(CheckpointError, match="it was trained with another config: seed: was 0, now 1"):
        ppema.train(load_config("small.yml", ["seed=1"]))
    assert len(validations) == 2
