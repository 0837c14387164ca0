"""A Config as YAML: the text holds every key, defaults included, and loads back to an equal Config."""

from __future__ import annotations

from typing import Any

import yaml

from ppema.config.schema import Config
from ppema.config.tree.yaml_tree import RESOLVERS


def to_yaml(config: Config) -> str:
    """The resolved config as YAML text. `load_config` reads it back to an equal Config."""
    data = config.model_dump()
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which also quotes every string that our loader or a YAML 1.1 loader would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Without quotes, PyYAML writes some line breaks other than \n, such as \x85, unescaped.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
for _resolver in RESOLVERS:
    _Dumper.add_implicit_resolver(*_resolver)
