"""The assignment of arrays to variables by name: renames, shapes and dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from ppema.config import InitFrom
from ppema.errors import ConfigError
from ppema.ir import Parameter
from ppema.weights.assignment import assign, check, check_layout
from ppema.weights.axes import doubtful


def parameter(name, shape=(2,), dtype="float32"):
    return Parameter(name, shape, dtype, trainable=True, averaged=True, variable=None)


MODEL = [parameter("conv_0.w_0"), parameter("linear_0.b_0"), parameter("linear_0.w_0", (2, 3))]
PLACES = {"body.0.weight": "conv_0.w_0", "head.weight": "linear_0.w_0", "head.bias": "linear_0.b_0"}
TITLES = {name: place for place, name in PLACES.items()}


def two(value=1.0, dtype="float32"):
    return np.full(2, value, dtype)


def found(arrays, model=MODEL, places=PLACES, **spec):
    return assign(InitFrom(path="x", **spec), arrays, model, places)


def pairs(assignment):
    return {each.source: each.parameter.name for each in assignment.loaded}


def checked(arrays, **spec):
    check(found(arrays, **spec), InitFrom(path="x", **spec).strict, TITLES)


def refused(arrays, **spec):
    with pytest.raises(ConfigError) as caught:
        checked(arrays, **spec)
    return str(caught.value).splitlines()


def test_by_place_or_by_name():
    made = found({"body.0.weight": two(), "linear_0.b_0": two(), "head.weight": np.ones((2, 3), "float32")})
    assert pairs(made) == {"body.0.weight": "conv_0.w_0", "linear_0.b_0": "linear_0.b_0", "head.weight": "linear_0.w_0"}
    assert (made.missing, made.unexpected, made.misshaped, made.left) == ([], {}, [], [])


def test_a_place_wins_over_another_variables_name():
    made = found({"linear_0.b_0": two()}, places={"linear_0.b_0": "conv_0.w_0"})
    assert pairs(made) == {"linear_0.b_0": "conv_0.w_0"}


def test_renames_are_applied_in_order_to_all_matches_of_the_sources_names():
    rename = {r"^backbone\.": "body.", r"\.kernel$": ".weight", r"^(.*)_(\d)\.": r"\1.\2."}
    made = found({"backbone._0.kernel": two()}, rename=rename)
    assert made.unexpected == {"backbone._0.kernel (renamed body..0.weight)": "[2] float32"}
    assert pairs(found({"backbone.0.kernel": two()}, rename=rename)) == {"backbone.0.kernel": "conv_0.w_0"}
    assert pairs(found({"body_0.kernel": two()}, rename=rename)) == {"body_0.kernel": "conv_0.w_0"}
    assert pairs(found({"x": two()}, rename={"x": "yy", "y": "z", "^zz$": "head.bias"})) == {"x": "linear_0.b_0"}


def test_two_sources_of_one_variable_are_named():
    arrays = {"body.0.weight": two(1), "conv_0.w_0": two(2)}
    said = "rename: 'body.0.weight' and 'conv_0.w_0' of the source both lead to variable 'conv_0.w_0'"
    assert refused(arrays) == [said]
    said = "rename: 'a' and 'b' of the source both become 'body.0.weight'"
    assert refused({"a": two(), "b": two()}, rename={"[ab]": "body.0.weight"}) == [said]


def test_tied_weights_have_two_places():
    places = {**PLACES, "again.weight": "conv_0.w_0"}
    made = found({"body.0.weight": two(), "again.weight": two()}, places=places)
    assert pairs(made) == {"body.0.weight": "conv_0.w_0"} and made.unexpected == {}
    with pytest.raises(ConfigError, match="'body.0.weight' and 'again.weight' of the source both lead to"):
        found({"body.0.weight": two(), "again.weight": two(np.nan)}, places=places)


def test_what_is_left_out_is_neither_missing_nor_unexpected():
    arrays = {"body.0.weight": two(), "head.weight": np.ones((5, 5), "float32"), "head.bias": two()}
    made = found(arrays, exclude=["^head"])
    assert pairs(made) == {"body.0.weight": "conv_0.w_0"}
    assert (made.missing, made.unexpected, made.misshaped, made.left) == ([], {}, [], MODEL[1:])
    assert found(arrays, include=["conv"]) == made
    assert pairs(found(arrays, include=["bias", "body"], exclude=["body"])) == {"head.bias": "linear_0.b_0"}
    assert refused(arrays, include=["body", "heads"]) == ["include.1: 'heads' matches none of the model's 3 variables"]
    assert refused(arrays, exclude=["x"]) == ["exclude.0: 'x' matches none of the model's 3 variables"]
    said = "nothing is loaded: no array of the source belongs to a selected variable"
    assert refused({"y": two()}, strict=[]) == [said]
    assert refused(arrays, exclude=["."]) == [said]


def test_strict_says_which_is_an_error():
    arrays = {"head.weight": np.ones((5, 5), "float32"), "head.bias": two(), "z\n": two(1, "float16")}
    missing = "missing: the source has no array for body.0.weight [2] float32: rename, exclude, or leave missing out of strict"
    unexpected = (
        "unexpected: the model has no variable for the source's z? [2] float16: rename, ignore, or leave unexpected out of "
        "strict"
    )
    misshaped = (
        "misshaped: the source's arrays do not fit head.weight ([5, 5] in the source, [2, 3] in the model): rename, "
        "transpose, exclude, or leave misshaped out of strict"
    )
    assert refused(arrays) == [missing, unexpected, misshaped]
    assert refused(arrays, strict=["misshaped"]) == [misshaped]
    assert refused(arrays, strict=["unexpected", "missing"]) == [missing, unexpected]
    made = found(arrays, strict=[])
    check(made, [], TITLES)
    assert pairs(made) == {"head.bias": "linear_0.b_0"}
    many = {"head.bias": two(), **{f"x{index}": two() for index in range(13)}}
    (said,) = refused(many, strict=["unexpected"])
    assert said.count("float32") == 10 and "x9 [2] float32 and 3 more: rename" in said


def transposed(arrays, model, **spec):
    """The loaded values by source, in a model whose variables are named by the arrays."""
    made = found(arrays, [parameter(f"v{name}", shape) for name, shape in model.items()], {n: f"v{n}" for n in model}, **spec)
    assert not made.missing
    return {each.source: each.value for each in made.loaded}, made


def test_axes_are_those_of_the_source_in_the_models_order():
    """By names before `rename`. A pattern counts for arrays of as many dimensions, the first one that matches."""
    rng = np.random.default_rng(0)
    shapes = {"a/kernel": (3, 5, 2, 4), "depth/kernel": (3, 5, 4, 1), "b/kernel": (4, 6), "embed/kernel": (6, 4), "bias": (6,)}
    arrays = {name: rng.random(shape, dtype="float32") for name, shape in shapes.items()}
    model = {"a.w": (4, 2, 3, 5), "depth.w": (4, 1, 3, 5), "b.w": (6, 4), "embed.w": (6, 4), "bias": (6,)}
    table = {"^depth": [2, 3, 0, 1], "kernel$": [3, 2, 0, 1], "embed": [0, 1], "kernel": [1, 0]}
    values, made = transposed(arrays, model, transpose=table, rename={"/kernel": ".w"})
    for out in range(4):
        np.testing.assert_array_equal(values["depth/kernel"][out, 0], arrays["depth/kernel"][:, :, out, 0])
        for channel in range(2):
            np.testing.assert_array_equal(values["a/kernel"][out, channel], arrays["a/kernel"][:, :, channel, out])
    np.testing.assert_array_equal(values["b/kernel"], arrays["b/kernel"].T)
    for kept in ("embed/kernel", "bias"):
        np.testing.assert_array_equal(values[kept], arrays[kept])
    assert [each.transposed for each in made.loaded] == [
        "transposed [3, 2, 0, 1]", "transposed [2, 3, 0, 1]", "transposed [1, 0]", "", "",
    ]  # fmt: skip
    said = "transpose: 'bias' matches no array of 2 dimensions among the source's 5 arrays"
    assert refused(arrays, transpose=["bias"]) == [said]


def test_a_misfit_names_the_order_that_fits():
    arrays = {"head.weight": np.ones((3, 2), "float32")}
    said = "misshaped: the source's arrays do not fit head.weight ({}): rename, transpose, exclude, or leave misshaped out of "
    said += "strict"
    text = "[3, 2] in the source, [2, 3] in the model: it fits transposed [1, 0]"
    assert refused(arrays, strict=["misshaped"]) == [said.format(text)]
    arrays = {"head.weight": np.ones((2, 4), "float32")}
    text = "[2, 4] in the source, [4, 2] transposed, [2, 3] in the model"
    assert refused(arrays, strict=["misshaped"], transpose=["head"]) == [said.format(text)]


@pytest.mark.parametrize(
    ("shape", "format", "expected"),
    [
        ((3, 16, 3), "tf", True),  # Keras' Conv1D [K, in, out] with K = out is Paddle's [out, in, K] in shape alone
        ((3, 16, 3), "pt", False),
        ((3, 16, 5), "tf", False),  # a misfit in one of the orders
        ((1, 16, 1), "tf", False),  # the numbers keep their order
        ((3, 1, 3, 1), "tf", True),
        ((3, 3, 3, 64), "tf", False),
    ],
)
def test_an_order_that_keeps_the_shape_is_doubtful(shape, format, expected):
    assert doubtful(shape, format) == expected


def test_a_square_array_of_which_nothing_is_known_is_refused():
    """PyTorch's Linear would fit as it is, with a wrong result."""
    shapes = {"fc": (4, 4), "conv": (3, 3, 3, 3), "one": (1, 1), "bias": (4,)}
    arrays = {name: np.ones(shape, "float32") for name, shape in shapes.items()}

    def open_in(format, **spec):
        made = transposed(arrays, shapes, **spec)[1]
        try:
            check_layout(made.loaded, format)
        except ConfigError as error:
            return str(error).partition(" of the source")[0]
        return ""

    fc, conv = "'fc' [4, 4]", "'conv' [3, 3, 3, 3]"
    of_format = {format: open_in(format) for format in ("", "np", "pt", "tf", "flax", "pd", "paddle", "ppema weights 1")}
    both = f"transpose: {fc}, {conv}"
    expected = {"": both, "np": both, "pt": f"transpose: {fc}", "tf": f"transpose: {conv}", "flax": f"transpose: {conv}"}
    assert of_format == {**expected, "pd": "", "paddle": "", "ppema weights 1": ""}
    for axes in ([1, 0], [0, 1]):
        assert open_in("pt", transpose={"fc": axes}) == ""
    assert open_in("", transpose={"fc": [1, 0], "conv": [0, 1, 2, 3]}) == ""
    # An array under its variable's own name is Paddle's.
    own = found({"linear_0.w_0": np.ones((4, 4), "float32")}, [parameter("linear_0.w_0", (4, 4))], {})
    check_layout(own.loaded, "")
    with pytest.raises(ConfigError) as caught:
        check_layout(transposed(arrays, shapes)[1].loaded, "pt")
    assert str(caught.value) == (
        "transpose: 'fc' [4, 4] of the source would fit in another order too: give its axes, {pattern: [1, 0]} to transpose it "
        "or {pattern: [0, 1]} to keep it; PyTorch's Linear is transposed, an embedding is kept"
    )


def test_an_ignored_array_is_not_unexpected():
    arrays = {"body.0.weight": two(), "steps": np.ones((), "int64"), "other": two()}
    made = found(arrays, ignore=["^steps$"])
    assert made.ignored == {"steps": "[] int64"} and list(made.unexpected) == ["other"]
    assert refused(arrays, ignore=["steps", "x"]) == ["ignore.1: 'x' matches no name of the source"]


CASTS = [
    ("float64", "float32", [0.1, 1e-60], np.array([0.1, 1e-60], "float32")),
    ("float32", "float64", [0.1, -3], np.float32([0.1, -3]).astype("float64")),
    ("float16", "float32", [0.1, 65504], np.array([0.1, 65504], "float16").astype("float32")),
    # 1 + 2^-8 is halfway between two bfloat16 numbers, and is rounded to the even one, 1.
    ("float32", "bfloat16", [1 + 2**-8, -2], np.array([1, -2], "bfloat16")),
    ("float64", "bfloat16", [1.5, -2], np.array([1.5, -2], "bfloat16")),
    ("float32", "float16", [0.1, np.inf], np.array([0.1, np.inf], "float16")),
    ("float16", "bfloat16", [1.5, -2], np.array([1.5, -2], "bfloat16")),
    ("int64", "int32", [3, -4], np.array([3, -4], "int32")),
    ("int32", "int64", [3, -4], np.array([3, -4], "int64")),
    ("bool", "bool", [True, False], np.array([True, False])),
]


@pytest.mark.parametrize(("kind", "dtype", "values", "expected"), CASTS, ids=lambda each: each if type(each) is str else "")
def test_types_that_go_together_are_cast(kind, dtype, values, expected):
    made = found({"w": np.array(values, kind)}, [parameter("w", dtype=dtype)], {})
    (loaded,) = made.loaded
    assert (loaded.value.dtype, loaded.value.tobytes()) == (expected.dtype, expected.tobytes())
    assert loaded.cast == ("" if kind == dtype else f"{kind} → {dtype}")


def test_bfloat16_is_widened_exactly():
    (loaded,) = found({"w": np.array([1 + 2**-7, -2], "bfloat16")}, [parameter("w")], {}).loaded
    assert loaded.value.tolist() == [1 + 2**-7, -2] and loaded.cast == "bfloat16 → float32"


def test_what_is_rounded_to_a_half_type_is_kept_for_the_master_weight():
    for array in (np.array([0.1, 3]), np.array([0.1, 3], "float32")):
        (loaded,) = found({"w": array}, [parameter("w", dtype="float16")], {}).loaded
        assert loaded.exact.dtype == "float32" and loaded.exact.tolist() == np.float32([0.1, 3]).tolist()
    (loaded,) = found({"w": np.array([1 + 2**-7, -2], "bfloat16")}, [parameter("w", dtype="bfloat16")], {}).loaded
    assert loaded.exact.tolist() == [1 + 2**-7, -2] and loaded.cast == ""


@pytest.mark.parametrize(
    ("array", "dtype", "why"),
    [
        (np.array([1, 2]), "float32", "int64 in the source, float32 in the model"),
        (np.array([1, 2]), "bfloat16", "int64 in the source, bfloat16 in the model"),
        (np.array([True, False]), "float32", "bool in the source, float32 in the model"),
        (np.array([1.0, 2.0]), "int64", "float64 in the source, int64 in the model"),
        (np.array([1, 2], "bfloat16"), "int64", "bfloat16 in the source, int64 in the model"),
        (np.array([1, 2**40]), "int32", "int64 in the source, int32 in the model"),
        (np.array([1j, 2]), "float32", "complex128 in the source, float32 in the model"),
        (np.array([1e300, 2.0]), "float32", "values of float64 that are too large for float32"),
        (np.array([1e5, 2.0], "float32"), "float16", "values of float32 that are too large for float16"),
        (np.array([[1.0, 2.0]], "float32"), "float32", "[1, 2] in the source, [2] in the model"),
    ],
)
def test_types_that_do_not_go_together_are_misshaped(array, dtype, why):
    model = [parameter("w", dtype=dtype)]
    assert found({"w": array}, model, {}).misshaped == [(model[0], why)]
