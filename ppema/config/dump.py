"""A Config as YAML: the text holds every key of the run, defaults included, and loads back to an equal Config."""

from __future__ import annotations

from ppema.config.schema import Config
from ppema.config.tree.yaml_text import block_yaml


def to_yaml(config: Config) -> str:
    """The resolved config as YAML text, without `sweep`. `load_config` reads it back to an equal Config."""
    return block_yaml(config.model_dump())
