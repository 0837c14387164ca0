"""What `init_from` may say: whole messages, with their places in the file."""

from __future__ import annotations

import pytest
from support.configs import write_config

from ppema.config import Config, InitFrom, load_config, to_yaml
from ppema.errors import ConfigError


def config(tmp_path, text, *overrides):
    file = write_config(tmp_path / "a.yml", init_from="".join(f"\n  {line}" for line in text.splitlines()))
    return load_config(file, overrides)


def refused(tmp_path, text, *overrides):
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text, *overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_all_that_may_be_said_reads_back(tmp_path):
    text = """\
path: runs/a
weights: ema
rename:
  '^backbone\\.': 'body.'
  '^a': ''
  '(\\d)_(?P<x>.)': '\\g<x>\\1'
transpose: {'kernel$': [3, 2, 0, 1]}
ignore: [steps]
include: ['^body']
exclude: [bias, '[0-9]$']
strict: [missing]
"""
    made = config(tmp_path, text)
    assert made.init_from == InitFrom(
        path="runs/a",
        weights="ema",
        rename={r"^backbone\.": "body.", "^a": "", r"(\d)_(?P<x>.)": r"\g<x>\1"},
        transpose={"kernel$": (3, 2, 0, 1)},
        ignore=("steps",),
        include=("^body",),
        exclude=("bias", "[0-9]$"),
        strict=("missing",),
    )
    (tmp_path / "b.yml").write_text(to_yaml(made))
    again = load_config(tmp_path / "b.yml")
    assert again == made and again.init_from and made.init_from
    assert list(again.init_from.rename) == list(made.init_from.rename)


@pytest.mark.filterwarnings("error")  # pydantic warns of values of another type
def test_a_list_transposes_matrices(tmp_path):
    made = config(tmp_path, "path: x\ntranspose: ['^fc', head]").init_from
    assert made and made.transpose == {"^fc": (1, 0), "head": (1, 0)}
    assert made.model_dump(mode="json")["transpose"] == {"^fc": [1, 0], "head": [1, 0]}


def test_little_need_be_said(tmp_path):
    found = config(tmp_path, "path: x.pdparams").init_from
    assert found == InitFrom(path="x.pdparams", weights="raw", strict=("missing", "unexpected", "misshaped"))
    assert Config.model_fields["init_from"].default is None
    assert config(tmp_path, "path: x", "init_from.strict=[]").init_from == InitFrom(path="x", strict=())
    assert config(tmp_path, "path: x", "init_from=").init_from is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weights: ema", ["a.yml:9:1: init_from.path: required key is missing"]),
        ("path: ''", ["a.yml:10:3: init_from.path: expected a string that is not empty, got ''"]),
        ("path: x\nstrikt: []", ["a.yml:11:3: init_from.strikt: unknown key; did you mean 'strict'?"]),
        (
            "path: x.safetensors\nweights: ema",
            ["a.yml:11:3: init_from.weights: requires a checkpoint: 'x.safetensors' holds one set of weights"],
        ),
        (
            "path: x\nstrict: [missing, shapes]",
            ["a.yml:11:21: init_from.strict.1: expected 'missing', 'unexpected' or 'misshaped', got 'shapes'"],
        ),
        ("path: x\nstrict: missing", ["a.yml:11:3: init_from.strict: expected a list, got 'missing'"]),
        (
            "path: x\ntranspose:\n  a: [1, 1]\n  b: [0]\n  c: [true, false]\n  '(d': [1, 0]\n  e: 10\n  f: [1, 2]",
            [
                f"a.yml:{12 + line}:5: init_from.transpose.{key}: expected the source's axes in the model's order, such as "
                f"[1, 0] or [3, 2, 0, 1], got {got}"
                for line, key, got in ((0, "a", "[1, 1]"), (1, "b", "[0]"), (2, "c", "[true, false]"))
            ]
            + [
                "a.yml:15:5: init_from.transpose.(d: '(d' is not a regular expression: missing ), unterminated subpattern at "
                "position 0"
            ]
            + [
                f"a.yml:{16 + line}:5: init_from.transpose.{key}: expected the source's axes in the model's order, such as "
                f"[1, 0] or [3, 2, 0, 1], got {got}"
                for line, key, got in ((0, "e", 10), (1, "f", [1, 2]))
            ],
        ),
        ("path: x\ntranspose: fc", ["a.yml:11:3: init_from.transpose: expected a list or a mapping, got 'fc'"]),
        (
            "path: x\ntranspose: [a, '(', '']\nignore: ['[']",
            [
                "a.yml:11:18: init_from.transpose.1: '(' is not a regular expression: missing ), unterminated subpattern at "
                "position 0",
                "a.yml:11:23: init_from.transpose.2: expected a regular expression, got ''",
                "a.yml:12:12: init_from.ignore.0: '[' is not a regular expression: unterminated character set at position 0",
            ],
        ),
        ("path: x\nrename: [a, b]", ["a.yml:11:3: init_from.rename: expected a mapping, got ['a', 'b']"]),
        (
            "path: x\nrename:\n  fine: fine\n  '(a': b\n  'c': '\\1'\n  '(?P<y>d)': '\\g<z>'\n  e: 5\n  f: '\\'\n",
            [
                "a.yml:13:5: init_from.rename.(a: '(a' is not a regular expression: missing ), unterminated subpattern at "
                "position 0",
                "a.yml:14:5: init_from.rename.c: '\\\\1' does not fit this expression: invalid group reference 1 at position 1",
                "a.yml:15:5: init_from.rename.(?P<y>d): '\\\\g<z>' does not fit this expression: unknown group name 'z'",
                "a.yml:16:5: init_from.rename.e: expected a string, got 5",
                "a.yml:17:5: init_from.rename.f: '\\\\' does not fit this expression: bad escape (end of pattern) at "
                "position 0",
            ],
        ),
        (
            "path: x\ninclude: ['[']\nexclude: [a, 'b{99999999999}']",
            [
                "a.yml:11:13: init_from.include.0: '[' is not a regular expression: unterminated character set at position 0",
                "a.yml:12:16: init_from.exclude.1: 'b{99999999999}' is not a regular expression: the repetition number is too "
                "large",
            ],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, said):
    assert refused(tmp_path, text) == said
