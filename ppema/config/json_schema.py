"""The JSON Schema of a config file. Editors complete keys and mark errors with it."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from ppema.config.duration import Duration
from ppema.config.schema import Config
from ppema.config.sections.measure import LossPart, Measure, MetricSpec
from ppema.config.sections.named import LearningRate, Named, Optimizer
from ppema.config.sections.transform_spec import TransformSpec
from ppema.config.tree.inheritance import BASE
from ppema.config.tree.merge import REPLACE

_NAME = {"type": "string", "minLength": 1}
_RATE = {"type": "number", "exclusiveMinimum": 0}
_SHORTHANDS = {
    **{section: [_NAME] for section in (Named, Measure, MetricSpec, LossPart, Optimizer, TransformSpec)},
    LearningRate: [_RATE, _NAME],
}


def schema_json() -> str:
    """The schema as JSON text. The text is deterministic.

    The schema requires no key, because any key may come from a base file, and base files are themselves parts of a config.
    `load_config` reports missing keys.
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
        return value  # pydantic would also sort the keys of examples

    def encode_default(self, dft: Any) -> Any:
        # By default, pydantic encodes the fields of a dataclass. YAML holds a duration as a string.
        return str(dft) if isinstance(dft, Duration) else super().encode_default(dft)


def _adapt(schema: dict[str, Any]) -> None:
    """Change `schema` and every schema in it, in place: remove titles and required keys, and admit `_replace_`."""
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
