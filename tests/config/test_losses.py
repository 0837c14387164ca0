"""`loss` and `losses`: one of them, with parts by name."""

from __future__ import annotations

import pytest
from support.config_values import MINIMAL

from ppema.config import Config
from ppema.config.sections.measure import LossPart
from ppema.errors import ConfigError

PARTS = {"mask": "dice", "aux": {"name": "cross_entropy", "output": "aux", "weight": 0.4}}


def test_parts_replace_the_loss():
    config = Config.model_validate({**MINIMAL, "losses": PARTS})
    assert config.loss is None
    assert config.loss_parts == {
        "mask": LossPart(name="dice"),
        "aux": LossPart(name="cross_entropy", output="aux", weight=0.4),
    }
    assert config.replace(seed=3).loss_parts == config.loss_parts


@pytest.mark.parametrize("given", [{}, {"loss": None}, {"loss": None, "losses": {}}])
def test_the_loss_is_cross_entropy_where_nothing_is_said(given):
    assert Config.model_validate({**MINIMAL, **given}).loss_parts == {"": LossPart(name="cross_entropy")}


def test_a_loss_beside_parts_is_refused():
    with pytest.raises(ConfigError, match=r"losses: `loss` is given as well: write `loss: null`, or make it one of the parts"):
        Config.model_validate({**MINIMAL, "loss": "mse", "losses": PARTS})


def test_all_faults_of_parts_are_told_together():
    with pytest.raises(ConfigError) as error:
        Config.model_validate({**MINIMAL, "losses": {"a b": "mse", "c": {"name": "mse", "weight": 0}}})
    assert [(problem.path, problem.message) for problem in error.value.problems] == [
        (("losses", "a b"), "expected a name made of letters, digits, '_' and '-' that starts with a letter"),
        (("losses", "c", "weight"), "expected a number > 0, got 0"),
    ]
