"""Plain data as YAML text, which our loader reads back as it was."""

from __future__ import annotations

import math
from typing import Any

import yaml

from ppema.config.tree.yaml_tree import RESOLVERS


def block_yaml(data: Any) -> str:
    """`data` as YAML with a line for each key and item."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


def one_line_yaml(data: Any) -> str:
    """`data` as YAML on one line, such as the value of an override."""
    text = yaml.dump([data], Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=math.inf)
    return text.rstrip("\n")[1:-1]


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
