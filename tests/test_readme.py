"""The README's examples, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ppema.config import load_config
from ppema.errors import ConfigError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return found


def test_the_class_in_a_program_of_ones_own():
    done = subprocess.run([sys.executable, "-c", block("python")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    label, value = done.stdout.split(":")
    assert label == "with the average"
    # The loss begins near 8, the variance of a sum of eight.
    assert float(value) < 1


def test_the_config_by_example_is_a_config(tmp_path):
    """In a folder where its base is; and each of its keys is known to be one, as the loader would refuse others."""
    (tmp_path / "_base_").symlink_to(ROOT / "configs/_base_")
    (tmp_path / "mine.yml").write_text(block("yaml"))
    config = load_config(tmp_path / "mine.yml")
    assert set(yaml.safe_load(block("yaml"))) - {"_base_"} == set(type(config).model_fields)
    assert list(config.averages) == ["ema", "long", "narrow", "wide"]


def test_the_mistakes_it_shows_are_told_so(tmp_path, monkeypatch):
    lines = re.findall(r"^    (mine.yml:.*)$", README, re.MULTILINE)
    assert len(lines) == 2
    text = (ROOT / "configs/digits_mlp.yml").read_text(encoding="utf-8")
    text = text.replace("split: train, batch_size", "split: train, bach_size").replace("decay: 0.99", "decay: 1.5")
    (tmp_path / "mine.yml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config("mine.yml")
    said = str(caught.value).splitlines()
    assert [line for line in said if "required key" not in line] == lines


def test_every_file_it_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
