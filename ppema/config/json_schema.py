"""The JSON Schema of a config file, with which editors complete keys and mark errors while one types."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ppema.config.duration import Duration
from ppema.config.named import LearningRate, Named, Optimizer
from ppema.config.schema import Config
from ppema.config.tree.inheritance import BASE
from ppema.config.tree.merge import REPLACE

_NAME = {"type": "string", "minLength": 1}
_RATE = {"type": "number", "exclusiveMinimum": 0}
_SHORTHANDS = {Named: [_NAME], Optimizer: [_NAME], LearningRate: [_RATE, _NAME]}


def schema_json() -> str:
    """The schema as JSON text, the same every time.

    No key is required: any of them may come from a base file, and base files are only parts of a config themselves.
    `load_config` is what finds missing keys.
    """
    schema = Config.model_json_schema(schema_generator=_Generator)
    _adapt(schema)
    for section, forms in _SHORTHANDS.items():
        schema["$defs"][section.__name__] = {"anyOf": [*forms, schema["$defs"][section.__name__]]}
    paths = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "uniqueItems": True}]}
    base = {"description": "Files to inherit from, relative to this file. Later files win, and this file over all.", **paths}
    head = {"$schema": GenerateJsonSchema.schema_dialect, "title": "ppema config"}
    properties = {BASE: base, **schema.pop("properties")}
    return json.dumps({**head, "properties": properties, **schema}, indent=2) + "\n"


class _Generator(GenerateJsonSchema):
    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value  # pydantic would sort the keys of examples too

    def encode_default(self, dft: Any) -> Any:
        # Left alone, pydantic shows a dataclass's fields instead of the string that stands for it in YAML.
        return str(dft) if isinstance(dft, Duration) else super().encode_default(dft)


def _adapt(schema: dict[str, Any]) -> None:
    """Changes `schema`, and every schema in it, from that of a whole config to that of a part of one."""
    schema.pop("title", None)
    schema.pop("required", None)
    inner = [
        *schema.get("$defs", {}).values(),
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", []),
        *schema.get("prefixItems", []),
        *(schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)),
    ]
    for part in inner:
        _adapt(part)
    if schema.get("type") == "object":
        replace = {
            "type": "boolean",
            "description": "true: this mapping replaces the inherited one. false: it is merged into it.",
        }
        schema["properties"] = {**schema.get("properties", {}), REPLACE: replace}
