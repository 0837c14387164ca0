"""The reference of all config keys as a page of Markdown, docs/config.md. Its source is the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ppema.config.json_schema import schema_json
from ppema.config.tree.inheritance import BASE
from ppema.config.tree.merge import REPLACE

_HEAD = """# Which keys has a config?

`make schema` writes this page from the types in `ppema/config`; a test compares the two. `configs/schema.json` holds the same
for editors. [A config by example](config-by-example.md) is the page to begin with.

- **Default**: a key without a default is required. `null` means "not set".
- **duration**: a number with its unit: `50 steps`, `0.5 epochs`, `2000 samples` or `10 %` of the run.
- **name**: short for `{name: NAME}`, a section without arguments.
- `_base_: FILE`, or a list of files, at the top of a config: it inherits from them. Paths are relative to the config. Later
  files win over earlier ones, and the config wins over all.
- `_replace_: true`, in any mapping: it replaces the inherited mapping. Without it the two are merged. One in an override always
  replaces.
- **Examples**: a test loads each of them, together with the keys that it requires.
"""
_ITEM, _NAME = "*", "<name>"  # parts of a place: any item of a list, and any key of a mapping whose names the user chooses
_NAMES = {"averages": "ema", "losses": "aux", "data": "input_0"}  # the name in examples, by section
# Larger bounds only guard against overflow, so the page omits them.
_LARGEST_BOUND = 10**12


def reference() -> str:
    """The page as Markdown: for each section its keys with values, defaults and meanings, and its examples."""
    schema = json.loads(schema_json())
    places: dict[str, list[tuple[str, ...]]] = {}
    for name, place in _sections(schema, schema, ()):
        places.setdefault(name, []).append(place)
    # Alternative sections that share their places, such as the kinds of data sets. `name` selects one.
    kinds: dict[tuple[tuple[str, ...], ...], list[dict[str, Any]]] = {(): [schema]}
    for name, found in places.items():
        kinds.setdefault(tuple(found), []).append(_object(schema["$defs"][name]))
    parts = [_HEAD]
    for found, sections in kinds.items():
        if len(sections) > 1:
            shared = [key for key, value in sections[0]["properties"].items() if _in_all(key, value, sections)]
            parts += [f"## {_title(found)}: every kind", "", *_table(sections[0], shared, schema), ""]
            parts += [
                line for each in sections for line in _section(each, found, schema, f", with `name: {_kind(each)}`", shared)
            ]
        else:
            parts += _section(sections[0], found, schema)
    return "\n".join(parts)


def _in_all(key: str, value: dict[str, Any], sections: list[dict[str, Any]]) -> bool:
    return all(each["properties"].get(key) == value for each in sections)


def _sections(node: dict[str, Any], root: dict[str, Any], place: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name and place of each section that `node` may hold, in the order of the keys. The names are keys of `$defs`."""
    for key, value in _object(node)["properties"].items():
        below = (*place, key)
        for inner in (value, *value.get("anyOf", [])):
            name = _referred(inner)
            for part, step in (("items", _ITEM), ("additionalProperties", _NAME)):
                if name is None and isinstance(inner.get(part), dict):
                    name, below = _referred(inner[part]), (*place, key, step)
            if name is not None:
                yield name, below
                yield from _sections(root["$defs"][name], root, below)


def _section(
    section: dict[str, Any],
    places: tuple[tuple[str, ...], ...],
    root: dict[str, Any],
    kind: str = "",
    known: Sequence[str] = (),
) -> list[str]:
    """The lines on one section. known: keys that another table lists."""
    lines = [f"## {_title(places)}{kind}", "", section["description"], ""]
    lines += [*_table(section, [key for key in section["properties"] if key not in known], root), ""]
    lines += ["Examples:" if len(section["examples"]) > 1 else "Example:", ""]
    if not places:
        (example,) = section["examples"]
        return [*lines, "```yaml", *(_yaml({key: value})[1:-1] for key, value in example.items()), "```", ""]
    for example in section["examples"]:
        for key in reversed(places[0]):
            example = [example] if key == _ITEM else {_NAMES[places[0][0]] if key == _NAME else key: example}
        lines.append(f"- `{_yaml(example)[1:-1]}`")
    return [*lines, ""]


def _title(places: tuple[tuple[str, ...], ...]) -> str:
    names = (f"`{'.'.join(step for step in place if step != _ITEM)}`" for place in places)
    return ", ".join(dict.fromkeys(names)) or "The whole config"


def _kind(section: dict[str, Any]) -> str:
    return section["properties"]["name"].get("const", "DOTTED.PATH")


def _table(section: dict[str, Any], keys: Sequence[str], root: dict[str, Any]) -> list[str]:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in keys:
        value = section["properties"][key]
        if key not in (BASE, REPLACE):
            optional = "default" in value and "const" not in value
            default = f"`{_default(value['default'])}`" if optional else "required"
            lines.append(f"| `{key}` | {_value(value, root)} | {default} | {value['description']} |")
    return lines


def _object(node: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section, without its shorthands."""
    return node if "properties" in node else node["anyOf"][-1]


def _referred(node: dict[str, Any]) -> str | None:
    return node["$ref"].rpartition("/")[2] if "$ref" in node else None


def _default(value: Any) -> str:
    """A default as YAML: a section without arguments as its name, a section of defaults as {}."""
    if isinstance(value, list):
        return f"[{', '.join(map(_default, value))}]"
    if isinstance(value, dict):
        return value["name"] if value.get("args") == {} else "{}"
    return _yaml(value)


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _value(node: dict[str, Any], root: dict[str, Any]) -> str:
    """The values that a key may hold, in words."""
    if "anyOf" in node:
        kinds = [_value(each, root) for each in node["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if (name := _referred(node)) is not None:
        shorthands = root["$defs"][name].get("anyOf", [])[:-1]
        return " or ".join([*("number > 0" if each["type"] == "number" else "name" for each in shorthands), "mapping"])
    if "const" in node or "enum" in node:
        return " or ".join(f"`{each}`" for each in node.get("enum", [node.get("const")]))
    match node["type"]:
        case "boolean":
            return "`true` or `false`"
        case "string":
            return "duration" if "epochs" in node.get("pattern", "") else "text"
        case "array" if "prefixItems" in node:
            return f"[{', '.join(_value(each, root) for each in node['prefixItems'])}]"
        case "array":
            return f"list of {_value(node['items'], root)}"
        case "object":
            return "mapping"
        case kind:
            return f"{kind}{_bounds(node)}"


def _bounds(node: dict[str, Any]) -> str:
    """The range of a number, such as " in [0, 1)", " > 0" or " ≥ 1"; "" without bounds."""
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum", node.get("exclusiveMaximum"))
    if high is None or high > _LARGEST_BOUND:
        return "" if low is None or low < -_LARGEST_BOUND else f" {'≥' if 'minimum' in node else '>'} {low}"
    high = high if isinstance(high, int) else f"{high:.6g}"
    return f" in {'[' if 'minimum' in node else '('}{low}, {high}{']' if 'maximum' in node else ')'}"
