"""Where a problem stands: in which file and line, or in which option."""

import pytest
from support.config_values import MINIMAL

from ppema.config import Config
from ppema.config.tree.positions import Position, Positions
from ppema.errors import ConfigError, overridden


def test_at_puts_path_and_position_on_problems():
    positions = Positions({(): Position("a.yml", 1, 1), ("lr",): Position("a.yml", 4, 1)})
    config = Config.model_validate(MINIMAL).at_positions(positions)
    for same in (config, config.replace(seed=1), config.model_copy(update={"seed": 1})):
        with pytest.raises(ConfigError) as caught, same.at("lr"):
            raise ConfigError.of("too high", "args", "learning_rate")
        assert str(caught.value) == "a.yml:4:1: lr.args.learning_rate: too high"


def test_at_leaves_problems_that_have_a_position():
    positions = Positions({(): Position("a.yml", 1, 1), ("lr",): Position("a.yml", 4, 1)})
    config = Config.model_validate(MINIMAL).at_positions(positions)
    with pytest.raises(ConfigError) as caught, config.at("train"), config.at("lr"):
        raise ConfigError.of("too high", "args")
    assert str(caught.value) == "a.yml:4:1: lr.args: too high"


def test_at_without_a_file_has_the_path_only():
    config = Config.model_validate(MINIMAL)
    with pytest.raises(ConfigError) as caught, config.at("metrics", 0):
        raise ConfigError.of("unknown metric", "name")
    assert str(caught.value) == "metrics.0.name: unknown metric"


def test_positions_are_no_part_of_what_a_config_says():
    config = Config.model_validate(MINIMAL)
    assert config.at_positions(Positions({(): Position("a.yml", 1, 1)})) == config


def test_positions_are_ordered_by_file_and_line_with_options_last():
    positions = Positions({("b",): Position("f", 12, 1), ("a",): Position("f", 2, 1), ("c",): Position(overridden("c"))})
    with pytest.raises(ConfigError) as caught:
        raise positions.locate(ConfigError(ConfigError.of("x", key).problems[0] for key in "cba"))
    assert str(caught.value).splitlines() == ["f:2:1: a: x", "f:12:1: b: x", "override c: x"]
