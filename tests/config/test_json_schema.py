"""The JSON Schema for editors: what it accepts that the models do not, and that it is complete."""

import json

from ppema.config import Config, schema_json


def schemas(node):
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from schemas(inner)


SCHEMA = json.loads(schema_json())


def test_it_is_the_same_every_time():
    assert schema_json() == schema_json()
    assert schema_json().endswith("}\n")


def test_no_key_is_required_because_a_base_may_have_it():
    assert not any(isinstance(node.get("required"), list) for node in schemas(SCHEMA))


def test_every_key_of_the_root_is_there_with_a_description():
    assert set(SCHEMA["properties"]) == {"_base_", "_replace_", *Config.model_fields}
    assert SCHEMA["additionalProperties"] is False


def test_every_key_of_every_section_has_a_description():
    for name, section in SCHEMA["$defs"].items():
        whole = section.get("anyOf", [section])[-1]
        assert whole["additionalProperties"] is False, name
        for key, value in whole["properties"].items():
            assert value.get("description"), f"{name}.{key}"


def test_every_integer_has_a_largest():
    """A number beyond int64 ends in Paddle's C++, or an OverflowError, so that none may enter."""
    integers = [node for node in schemas(SCHEMA) if node.get("type") == "integer" and "enum" not in node]
    assert len(integers) > 15
    assert all(node["maximum"] <= 10**15 and "minimum" in node for node in integers)


def test_bases_are_a_path_or_a_list_of_paths():
    assert [kind["type"] for kind in SCHEMA["properties"]["_base_"]["anyOf"]] == ["string", "array"]


def test_shorthands():
    assert [kind["type"] for kind in SCHEMA["$defs"]["Named"]["anyOf"]] == ["string", "object"]
    assert [kind["type"] for kind in SCHEMA["$defs"]["LearningRate"]["anyOf"]] == ["number", "string", "object"]


def test_durations_are_strings_with_a_pattern_and_their_default_is_one():
    log_every = SCHEMA["$defs"]["Train"]["properties"]["log_every"]
    assert log_every["type"] == "string"
    assert "steps?" in log_every["pattern"]
    assert log_every["default"] == "50 steps"


def test_data_sets_are_told_apart_by_name():
    kinds = [ref["$ref"].rsplit("/", 1)[1] for ref in SCHEMA["$defs"]["Data"]["properties"]["train"]["anyOf"]]
    assert kinds == ["Digits", "Idx", "ImageFolder", "Npz", "Csv", "Synthetic", "DottedData"]
    assert SCHEMA["$defs"]["ImageFolder"]["properties"]["name"]["const"] == "image_folder"
