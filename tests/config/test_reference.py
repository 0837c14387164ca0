"""docs/config.md: it is current, and its examples are configs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ppema.cli.show import main as show_main
from ppema.config import Config, schema_json
from ppema.losses import LOSSES
from ppema.metrics import METRICS
from ppema.models import MODELS
from ppema.optimizers.optimizer import OPTIMIZERS

PAGE = (Path(__file__).parents[2] / "docs/config.md").read_text(encoding="utf-8")
WHOLE = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0])
EXAMPLES = re.findall(r"^- `(.*)`$", PAGE, re.MULTILINE)
HEADS = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
SECTIONS = json.loads(schema_json())["$defs"]


def test_the_page_is_current(capsys):
    assert show_main(["--reference"]) == 0
    assert capsys.readouterr().out == PAGE, "run: make schema"


def test_the_whole_example_has_every_key():
    assert list(Config.model_validate(WHOLE).model_fields_set) and list(WHOLE) == list(Config.model_fields)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_loads(example):
    """In the place of the same section of the whole example; what it does not say of data and averages is taken from there."""
    given = yaml.safe_load(example)
    if "data" in given:
        if set(given["data"].get("train", {})) == {"transforms"}:
            given["data"]["train"] |= WHOLE["data"]["train"]
        kept = "split" in given["data"] or "name" not in given["data"].get("eval", {"name": ""})
        given["data"] = {**WHOLE["data"], **({"split": {"fraction": 0.1}, "eval": None} if kept else {}), **given["data"]}
    if set(given.get("averages", {}).get("ema", {})) == {"warmup"}:
        given["averages"]["ema"]["decay"] = 0.99
    if not {"epochs", "steps"} & set(given.get("train", {"epochs": 1})):
        given["train"] = {**WHOLE["train"], "monitor": "raw/accuracy", **given["train"]}
    metrics = given.get("train", {}).get("monitor", [])
    if given.get("averages", {}).get("ema", {}).get("sharded"):
        given["board"] = {}
    if "losses" in given:
        given["loss"] = None
    extra = [{"name": "mine.my_score"}] if "raw/my_score" in metrics else []
    if "snapshot_every" in given.get("train", {}):
        given["averages"] = {"narrow": {"sigma_rel": 0.05}}
    Config.model_validate({**WHOLE, "metrics": ["accuracy", *extra], **given})


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_of_every_section_has_an_example(name):
    section = SECTIONS[name].get("anyOf", [SECTIONS[name]])[-1]
    shown = {key for example in section["examples"] if isinstance(example, dict) for key in example}
    assert shown == set(section["properties"]) - {"_replace_"}


def test_every_section_has_its_head_and_every_example_is_on_the_page():
    assert len(HEADS) == len(set(HEADS)) == len(SECTIONS) + 2  # the whole config, and the keys of every data set
    count = sum(len(section.get("anyOf", [section])[-1]["examples"]) for section in SECTIONS.values())
    assert len(EXAMPLES) == count > len(SECTIONS)


@pytest.mark.parametrize(("key", "known"), [("model", MODELS), ("loss", LOSSES), ("metrics", METRICS)])
def test_the_names_that_ppema_knows_are_named(key, known):
    said = Config.model_fields[key].description or ""
    assert set(known) == {name for name in re.findall(r"\w+", said) if name in known}
    assert {"LBFGS", "Rprop"}.isdisjoint(OPTIMIZERS)
