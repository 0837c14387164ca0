"""Variables of a scope: `put` writes all of them or none, and never changes a shape or type."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppema.ir import scope


@pytest.fixture
def where():
    """A scope with a = [1, 2], b = [3, 4], c = [[5, 6]], n = 7 (int64), and an uninitialised variable."""
    made = paddle.static.Scope()
    made.var("unfilled").get_tensor()
    for name, value in (("a", [1.0, 2.0]), ("b", [3.0, 4.0]), ("c", [[5.0, 6.0]])):
        made.var(name).get_tensor().set(np.array(value, "float32"), paddle.CPUPlace())
    made.var("n").get_tensor().set(np.array(7, "int64"), paddle.CPUPlace())
    return made


def test_get_copies(where):
    value = scope.get(where, "a")
    value[0] = 99
    assert scope.get(where, "a").tolist() == [1.0, 2.0]
    assert scope.get(where, "n").shape == ()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint16"])
def test_all_finite_reads_variables_of_every_type(where, dtype):
    one, infinity = (np.uint16(0x3F80), np.uint16(0x7F80)) if dtype == "uint16" else (1.0, np.inf)
    where.var("x").get_tensor().set(np.array([one, one], dtype), paddle.CPUPlace())
    assert scope.all_finite(where, "x")
    where.find_var("x").get_tensor().set(np.array([one, infinity], dtype), paddle.CPUPlace())
    assert not scope.all_finite(where, "x")
    with pytest.raises(KeyError, match="absent"):
        scope.all_finite(where, "absent")


@pytest.mark.parametrize("name", ["absent", "unfilled"])
def test_what_is_not_there_is_a_key_error(where, name):
    with pytest.raises(KeyError, match=name):
        scope.get(where, name)
    assert scope.missing(where, ["a", name]) == [name]


def test_put_keeps_shapes_down_to_scalars(where):
    scope.put(where, {"a": np.array([8, 9], "float32"), "n": np.array(3)})
    assert scope.get(where, "a").tolist() == [8.0, 9.0]
    assert scope.get(where, "n").shape == () and scope.get(where, "n") == 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((2, 1), "float32"), r"variable b is float32 \[2\], the new value is float32 \[2, 1\]"),
        (np.zeros(2, "float64"), r"variable b is float32 \[2\], the new value is float64 \[2\]"),
    ],
)
def test_put_refuses_another_form_and_has_then_touched_nothing(where, value, said):
    with pytest.raises(ValueError, match=said):
        scope.put(where, {"a": np.array([8, 9], "float32"), "b": value})
    with pytest.raises(KeyError, match="absent"):
        scope.put(where, {"a": np.array([8, 9], "float32"), "absent": value})
    assert scope.get(where, "a").tolist() == [1.0, 2.0]


def test_a_loan_shares_memory_and_the_own_comes_back(where):
    own, other = (scope.tensor(where, name)._ptr() for name in "ab")
    loan = scope.Loan(where, [("a", "b")])
    for _ in range(2):
        loan.start()
        assert scope.get(where, "a").tolist() == scope.get(where, "b").tolist() == [3.0, 4.0]
        assert [scope.tensor(where, name)._ptr() for name in "ab"] == [other, other]
        assert loan.own("a").tolist() == [1.0, 2.0]
        loan.stop()
        assert [scope.tensor(where, name)._ptr() for name in "ab"] == [own, other]
    assert scope.get(where, "a").tolist() == [1.0, 2.0] and scope.get(where, "b").tolist() == [3.0, 4.0]


def test_a_loan_finds_variables_that_were_made_anew(where):
    """A variable that was erased and made again has a new tensor, or the former tensor of another variable."""
    loan = scope.Loan(where, [("a", "b"), ("b2", "a2")])
    for name in ("a2", "b2"):
        where.var(name).get_tensor().set(np.array([9, 9], "float32"), paddle.CPUPlace())
    loan.start()
    loan.stop()
    where.erase(["a", "b", "a2", "b2"])
    with pytest.raises(KeyError, match="a"):
        loan.start()
    values = {"b2": [5, 6], "a2": [7, 8], "b": [1, 2], "a": [3, 4]}
    for name, value in values.items():
        where.var(name).get_tensor().set(np.array(value, "float32"), paddle.CPUPlace())
    loan.start()
    assert [scope.get(where, name).tolist() for name in ("a", "b", "b2", "a2")] == [[1, 2], [1, 2], [7, 8], [7, 8]]
    where.erase(["a"])
    loan.stop()
    assert [scope.get(where, name).tolist() for name in ("a", "b2")] == [[3, 4], [5, 6]], "the erased one is there again"


def test_a_loan_to_variables_of_a_parent_makes_no_second_ones(where):
    child = where.new_scope()
    loan = scope.Loan(child, [("a", "b")])
    for _ in range(2):
        loan.start()
        assert scope.get(where, "a").tolist() == [3.0, 4.0]
        loan.stop()
        assert scope.get(where, "a").tolist() == [1.0, 2.0] and child.size() == 0
    loan.start()
    where.erase(["a"])
    with pytest.raises(KeyError, match="a"):
        loan.stop()
    where.var("a").get_tensor().set(np.array([0, 0], "float32"), paddle.CPUPlace())
    loan.stop()
    assert scope.get(where, "a").tolist() == [1.0, 2.0] and child.size() == 0


def test_a_loan_sees_a_shape_that_changed(where):
    loan = scope.Loan(where, [("a", "b")])
    loan.start()
    loan.stop()
    scope.tensor(where, "b").set(np.zeros([3], "float32"), paddle.CPUPlace())
    with pytest.raises(ValueError, match=r"a is float32 \[2\], b is float32 \[3\]"):
        loan.start()
    assert scope.get(where, "a").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("pair", [("b", "c"), ("b", "n")])
def test_what_can_not_be_lent_is_refused_before(where, pair):
    with pytest.raises(ValueError, match="b is float32"):
        scope.Loan(where, [("a", "b"), pair]).start()
    with pytest.raises(KeyError, match="absent"):
        scope.Loan(where, [("a", "b"), ("b", "absent")]).start()
    with pytest.raises(KeyError, match="unfilled"):
        scope.Loan(where, [("a", "b"), ("b", "unfilled")]).start()
    assert scope.get(where, "a").tolist() == [1.0, 2.0]


def test_copies_leave_the_source_alone_and_the_former_memory_comes_back(where):
    copies = scope.Copies(where, [("a", "b")])
    copies.start()
    scope.put(where, {"a": np.array([0, 0], "float32")})
    assert scope.get(where, "b").tolist() == [3.0, 4.0]
    assert copies.own("a").tolist() == [1.0, 2.0]
    copies.stop()
    assert scope.get(where, "a").tolist() == [1.0, 2.0]


@pytest.fixture
def halves(where):
    """The scope `where` with half variables too, and a float32 variable that neither type can hold exactly."""
    half = {"f": np.array([1.5, -2.0], "float16"), "g": np.array([0x3F80, 0xC000], "uint16")}
    for name, value in {**half, "wide": np.array([1.2345678, -1e30], "float32")}.items():
        where.var(name).get_tensor().set(value, paddle.CPUPlace())
    return where


def test_types_are_named_and_bfloat16_is_a_type_of_its_own(halves):
    assert [scope.dtype(halves, name) for name in ("a", "f", "g")] == ["float32", "float16", "bfloat16"]
    found = scope.get(halves, "g")
    assert found.dtype == "bfloat16" and found.tolist() == [1, -2]
    found[0] = 7  # a copy
    assert scope.get(halves, "g").tolist() == [1, -2]
    given = np.array([[2, 0], [3, 0]], "bfloat16")[:, 0]  # not contiguous
    scope.put(halves, {"f": np.array([0.5, 1], "float16"), "g": given})
    given[0] = 7  # copied too
    assert np.array(scope.tensor(halves, "g")).tolist() == [0x4000, 0x4040] and scope.dtype(halves, "g") == "bfloat16"
    scope.create(halves, "new", np.array(-2, "bfloat16"))
    assert scope.dtype(halves, "new") == "bfloat16" and scope.get(halves, "new").tolist() == -2
    with pytest.raises(ValueError, match=r"variable g is bfloat16 \[2\], the new value is uint16 \[2\]"):
        scope.put(halves, {"g": np.zeros(2, "uint16")})
    with pytest.raises(ValueError, match=r"variable g is bfloat16 \[2\], the new value is float32 \[2\]"):
        scope.put(halves, {"g": np.zeros(2, "float32")})


def test_copies_into_half_types_are_rounded_and_the_former_memory_comes_back(halves):
    before = {name: (scope.get(halves, name).tobytes(), scope.tensor(halves, name)._ptr()) for name in "fg"}
    copies = scope.Copies(halves, [("f", "wide"), ("g", "wide")])
    copies.start()
    assert scope.get(halves, "f").tolist() == [1.234375, -np.inf]
    assert [f"{bits:04x}" for bits in scope.get(halves, "g").view("uint16")] == ["3f9e", "f14a"]
    assert [scope.dtype(halves, name) for name in "fg"] == ["float16", "bfloat16"]
    copies.stop()
    assert {name: (scope.get(halves, name).tobytes(), scope.tensor(halves, name)._ptr()) for name in "fg"} == before


@pytest.mark.parametrize("pair", [("wide", "f"), ("f", "g"), ("f", "n")])
def test_other_copies_between_types_are_refused_and_have_then_touched_nothing(halves, pair):
    with pytest.raises(ValueError, match=f"{pair[0]} is float.*{pair[1]} is"):
        scope.Copies(halves, [("a", "b"), pair]).start()
    assert scope.get(halves, "a").tolist() == [1.0, 2.0]


def filled(values):
    made = paddle.static.Scope()
    for name, value in values.items():
        scope.create(made, name, value)
    return made


def test_a_copier_gives_what_is_there_now_in_the_arrays_given():
    names = ["f4", "f8", "i8", "b2"]
    values = {
        "f4": np.arange(6, dtype="float32").reshape(2, 3),
        "f8": np.array(0.5),
        "i8": np.array([3, 4]),
        "b2": np.array([1], "bfloat16"),
    }
    where = filled(values)
    targets = {name: np.zeros_like(values[name]) for name in names}
    copier = scope.Copier(where, targets)
    for factor in (1, 2):
        scope.put(where, {name: (values[name] * factor).astype(values[name].dtype) for name in names})
        copier.copy()
        for name in names:
            assert targets[name].tobytes() == (values[name] * factor).astype(values[name].dtype).tobytes()
    other = filled({"f4": -values["f4"]})
    held = scope.tensor(where, "f4")
    held._share_data_with(scope.tensor(other, "f4"))
    copier.copy()
    assert (targets["f4"] == -values["f4"]).all(), "also from memory that was borrowed"
    held.set(np.zeros(7, "float32"), paddle.CPUPlace())
    with pytest.raises(ValueError, match=r"variable f4 is float32 \[7\], the array is float32 \[2, 3\]"):
        copier.copy()
    with pytest.raises(KeyError, match="absent"):
        scope.Copier(where, {"absent": np.zeros(1)})
