"""YAML text: how scalars are read, where keys stand, and one line for everything that can not be read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppema.config.tree.positions import Position
from ppema.config.tree.yaml_tree import MAX_DEPTH, MAX_NODES, read_yaml
from ppema.errors import ConfigError


def read(text):
    return read_yaml(text, lambda mark: Position("f", mark.line + 1, mark.column + 1))


def value(text):
    return read(f"x: {text}").plain()["x"]


def error_lines(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2e-3", -0.002),
        ("1.", 1.0),
        (".5", 0.5),
        ("+1.5e+3", 1500.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-12", -12),
        ("017", 17),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("=", "="),
        ("e5", "e5"),
        ("1e", "1e"),
        (".", "."),
        ("-", [None]),
    ],
)
def test_scalars(text, expected):
    got = value(text) if text != "-" else read("x:\n-").plain()["x"]
    assert got == expected
    assert type(got) is type(expected)


def test_nan():
    assert math.isnan(value(".nan"))


def test_positions_of_keys_and_items():
    tree = read("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n")
    assert tree.positions() == {
        (): Position("f", 1, 1),
        ("a",): Position("f", 1, 1),
        ("a", "b"): Position("f", 2, 3),
        ("a", "c"): Position("f", 3, 3),
        ("a", "c", 0): Position("f", 4, 7),
        ("a", "c", 1): Position("f", 5, 7),
        ("a", "c", 1, "d"): Position("f", 5, 8),
    }


def test_nothing():
    assert read("") is None
    assert read("# only a comment\n") is None


def test_aliases_and_merge_keys():
    assert read("a: &a [1, 2]\nb: *a").plain() == {"a": [1, 2], "b": [1, 2]}
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*b, *a]\n  x: 3\n"
    assert read(text).plain()["c"] == {"y": 2, "z": 2, "x": 3}
    assert read("a: &a {x: 1}\nc: {'<<': *a}").plain()["c"] == {"<<": {"x": 1}}


def test_an_inherited_key_stands_where_it_was_written():
    tree = read("a: &a {x: 1}\nc:\n  <<: *a\n")
    assert tree.positions()["c", "x"] == Position("f", 1, 8)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3", ["f:3:1: a: duplicate key; it is also at f:1:1"]),
        ("1: a", ["f:1:1: expected a name as key, got 1; put it in quotes"]),
        ("true: a", ["f:1:1: expected a name as key, got true; put it in quotes"]),
        ("~: a", ["f:1:1: expected a name as key, got null"]),
        ("'': a", ["f:1:1: expected a name as key, got ''"]),
        ('"a\\nb": 1', ["f:1:1: expected a name as key, got 'a\\nb'"]),
        ("? [a, b]\n: 1", ["f:1:3: expected a name as key, got ['a', 'b']"]),
        ("a: &a [*a]", ["f:1:4: a.0: the alias is inside the value that it repeats"]),
        ("a: &a {b: {c: *a}}", ["f:1:12: a.b.c: the alias is inside the value that it repeats"]),
        ("a: &a {<<: *a}", ["f:1:8: a: the alias is inside the value that it repeats"]),
        ("a: *b", ["f:1:4: not valid YAML: found undefined alias 'b'"]),
        ("a: {<<: 3}", ["f:1:5: a: expected a mapping or a list of mappings after '<<'"]),
        (
            "a: !!python/object/apply:os.system [ls]",
            ["f:1:1: a: the tag !!python/object/apply:os.system is refused; a config holds plain data only"],
        ),
        ("a: !env HOME", ["f:1:1: a: the tag !env is refused; a config holds plain data only"]),
        ("a: !!set {b}", ["f:1:1: a: the tag !!set is refused; a config holds plain data only"]),
        ("a: !!timestamp 2024-01-01", ["f:1:1: a: the tag !!timestamp is refused; a config holds plain data only"]),
        ("a: !!int x", ["f:1:1: a: expected a value of type int after !!int"]),
        (f"a: {'9' * 101}", ["f:1:1: a: a number of 101 digits is too long"]),
        ("a:\n\tb: 1", ["f:2:1: not valid YAML: a tab where only spaces are allowed"]),
        ("a: [1,", ["f:1:7: not valid YAML: while parsing a flow node, expected the node content, but found the end"]),
        ("a: 1\n b: 2", ["f:2:3: not valid YAML: mapping values are not allowed here"]),
        (
            "--- {}\n--- {}",
            ["f:2:1: not valid YAML: expected a single document in the stream, but found another document"],
        ),
        ("a: 'b\n\x01'", ["f:2:1: the character '\\x01' is not allowed in YAML"]),
        ('a: "\\UFFFFFFFF"', ["f:1:1: not valid YAML: an escape or a version that does not exist"]),
        ('a: "\\ud800"', ["f:1:1: a: half a surrogate pair is not a character"]),
        (
            "a: 1\na: 2\nb: !x 1\n3: 4",
            [
                "f:2:1: a: duplicate key; it is also at f:1:1",
                "f:3:1: b: the tag !x is refused; a config holds plain data only",
                "f:4:1: expected a name as key, got 3; put it in quotes",
            ],
        ),
    ],
)
def test_what_can_not_be_read(text, lines):
    assert error_lines(text) == lines


@pytest.mark.parametrize(("opening", "column"), [("[", MAX_DEPTH + 3), ("{a: ", 4 * (MAX_DEPTH - 1) + 1)])
def test_deep_nesting(opening, column):
    (line,) = error_lines("x: " + opening * 5000)
    assert line == f"f:1:{column}: not valid YAML: nested more than {MAX_DEPTH} levels deep"


def test_deep_nesting_by_aliases():
    levels = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80)]
    lines = error_lines("\n".join(["a0: &a0 x", *levels]))
    assert lines[0] == f"f:1:5: a{MAX_DEPTH}{'.0' * MAX_DEPTH}: nested more than {MAX_DEPTH} levels deep"


def test_too_many_values():
    (line,) = error_lines(f"a: [{'x,' * MAX_NODES}]")
    assert line.endswith(f": not valid YAML: more than {MAX_NODES} keys and values")


def test_an_alias_bomb_ends_early():
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    (line,) = error_lines("\n".join(["a0: &a0 lol", *levels]))
    assert line.endswith(f": more than {MAX_NODES} keys and values, aliases expanded")


pieces = st.sampled_from(
    [*"abc01:-?[]{},&*!|>'\"%@`#\n\t ", "a: ", "- ", "\n  ", "<<: ", "&a ", "*a", "!!int ", "---\n", "\\x"]
)


@given(st.lists(pieces | st.characters(), max_size=40).map("".join))
def test_any_text_is_read_or_refused(text):
    problems = []
    try:
        read(text)
    except ConfigError as error:
        problems = error.problems
    assert not any("\n" in str(problem) or not problem.where for problem in problems)
