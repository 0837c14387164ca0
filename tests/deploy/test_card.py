"""The model card: its parts, and names of a user that are shown as they are."""

from __future__ import annotations

from typing import Any

import yaml
from markdown_it import MarkdownIt

from ppema.deploy.card import card
from ppema.deploy.description import ModelDescription

PICTURES = {"channels": 3, "size": [64, 48], "scale": 1 / 255, "layout": "CHW", "input": "image", "shape": [3, 64, 48]}
NORMALIZE = {"name": "Normalize", "args": {"mean": [0.5], "std": [0.25]}}


def described(**changes: Any) -> ModelDescription:
    found = {
        "name": "pets",
        "inputs": [{"name": "image", "shape": [-1, 3, 64, 48], "dtype": "float32", "meaning": "a picture"}],
        "outputs": [
            {"name": "output", "shape": [-1, 2], "dtype": "float32", "meaning": "scores", "by": "softmax", "axis": -1},
        ],
        "preprocessing": {**PICTURES, "transforms": [NORMALIZE]},
        "classes": ["cat", "dog"],
        "weights": {"name": "ema", "what": "ema at step 300", "step": 300, "schedule": {"decay": 0.99}, "window": 99.6},
        "metrics": {
            "label": "data.eval",
            "samples": 1200,
            "weights": {"ema": {"loss": 0.25, "accuracy": 0.9375}, "raw": {"loss": None, "accuracy": 0.875}},
        },
        "config": {},
        "versions": {"ppema": "0.1", "paddle": "3.3.1"},
        "files": {"inference.json": {"size": 1234, "sha256": "ab" * 32}},
    }
    return ModelDescription.model_validate({**found, **changes})


def parsed(text: str) -> tuple[dict[str, Any], list]:
    """The front matter, and the tokens of the Markdown after it."""
    _, front, markdown = text.split("---\n", 2)
    return yaml.safe_load(front), MarkdownIt().enable("table").parse(markdown)


def texts(tokens: list) -> list[str]:
    """The text of each inline part, as a reader sees it."""
    return ["".join(child.content for child in each.children) for each in tokens if each.type == "inline"]


def test_it_has_what_the_description_has():
    front, tokens = parsed(card(described(), "inference"))
    assert front == {"library_name": "paddlepaddle", "tags": ["ppema"], "pipeline_tag": "image-classification"}
    shown = texts(tokens)
    rows = " | ".join(shown)
    assert "weights | loss | accuracy | raw |  | 0.875 | ema | 0.25 | 0.9375" in rows
    assert "On the 1,200 samples of data.eval:" in shown
    assert "input | image | [N, 3, 64, 48] | float32 | a picture" in rows
    assert "scores; the axis of classes is -1" in shown
    assert "0 cat, 1 dog." in shown
    assert f"inference.json | 1,234 | {'ab' * 32}" in rows
    assert any('ema at step 300. Its settings: {"decay": 0.99}. It reaches over about 100 steps.' in each for each in shown)
    (prepared,) = (each for each in shown if each.startswith("Pictures are RGB, resized to 64 x 48"))
    assert prepared.endswith('Then, in this order: Normalize {"mean": [0.5], "std": [0.25]}.')


def test_what_is_not_known_is_left_out():
    changed = described(
        preprocessing=None,
        classes=None,
        weights={"name": "raw", "what": "raw at step 1"},
        metrics={"label": "data.eval", "samples": None, "weights": {}, "missing": "not measured: no file"},
    )
    front, tokens = parsed(card(changed, "inference"))
    assert "pipeline_tag" not in front
    shown = texts(tokens)
    assert "Figures are missing: not measured: no file." in shown
    assert not any("classes?" in each or "Pictures" in each or "window" in each for each in shown)


def test_pictures_as_bytes_need_no_preparation_by_the_reader():
    bytes_ = {"name": "image", "shape": [-1, 64, 48, 3], "dtype": "uint8", "meaning": "bytes"}
    shown = texts(parsed(card(described(inputs=[bytes_]), "inference"))[1])
    (prepared,) = (each for each in shown if each.startswith("Pictures are RGB"))
    assert prepared.endswith("The program takes their bytes, [N, height, width, channels], and does the rest.")


def test_names_of_a_user_are_shown_as_they_are():
    """They make no link, no column, no heading, no HTML, and no further line."""
    name = "a|b `c` *d* _e_ [f](g) <h> #i ~~j~~ &amp; \\k ![l](m) $n$ ---"
    changed = described(
        name=f"{name}\n# other",
        classes=[name, "dog\r\n- x"],
        metrics={"label": name, "samples": 1, "weights": {name: {name: 1.0}, "raw": {name: 2.0}}},
    )
    front, tokens = parsed(card(changed, "inference"))
    assert front["tags"] == ["ppema"]
    shown = texts(tokens)
    assert f"{name} # other" in shown
    assert f"0 {name}, 1 dog - x." in shown
    assert f"On the 1 sample of {name}:" in shown
    assert " | ".join(["weights", name, "raw", "2", name, "1"]) in " | ".join(shown)
    kinds = {child.type for each in tokens if each.type == "inline" for child in each.children}
    assert kinds <= {"text", "text_special", "softbreak"}
    assert [each.tag for each in tokens if each.type == "heading_open"].count("h1") == 1
