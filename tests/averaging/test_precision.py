"""Compensated updates over a whole run against float64, and rounding to half types bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from precision_table import CASES, DECAYS, STEPS, relative_errors, step_sizes, trajectory

from ppema.averaging.precision import compensated, finite, fitted, rounded, widened


def test_over_a_whole_run_compensation_keeps_what_float32_loses():
    """All nine cases run in one loop, with the formula of the program's update."""
    form = (len(DECAYS), len(CASES), 16)
    plain, shadow, rest = (np.zeros(form, "float32") for _ in range(3))
    exact, worst = np.zeros(form), 0.0
    sizes = zip(*(step_sizes(STEPS, decay) for decay in DECAYS), strict=True)
    for step, (values, alphas) in enumerate(zip(trajectory(STEPS, 16), sizes, strict=True), start=1):
        alpha64 = np.array(alphas)[:, None, None]
        alpha = alpha64.astype("float32")
        plain += alpha * (values - plain)
        shadow, rest = compensated(shadow, rest, values, alpha)
        exact += alpha64 * (values - exact)
        if step % 1000 == 0:
            worst = max(worst, relative_errors(shadow, exact).max())
    assert shadow.dtype == rest.dtype == np.float32
    assert worst <= 2e-7
    lost = dict(zip(CASES, relative_errors(plain, exact).T, strict=True))
    # float32 is off by hundreds of units in the last place if increments shrink below half a unit, else by a few.
    assert lost["settling"].min() > 1e-5
    assert lost["random walk"].min() > 2e-7 and lost["noise"].min() > 2e-7


def test_the_first_update_of_an_empty_shadow_is_the_value_itself():
    value = np.random.default_rng(0).normal(size=100).astype("float32")
    zero = np.zeros(100, "float32")
    shadow, rest = compensated(zero, zero, value, np.float32(1))
    assert shadow.tobytes() == value.tobytes()
    assert not rest.any()


def test_an_increment_below_the_last_place_is_not_lost_but_kept():
    shadow, rest, alpha = np.float32(1), np.float32(0), np.float32(2**-20)
    value = np.float32(1 + 2**-6)
    # Each update adds 2^-26, an eighth of the shadow's last place: float32 alone would stay at 1.
    assert np.float32(shadow + alpha * (value - shadow)) == 1
    for _ in range(4):
        shadow, rest = compensated(shadow, rest, value, alpha)
    assert (shadow, rest) == (1, 2**-24)
    shadow, rest = compensated(shadow, rest, value, alpha)
    # Five eighths of the last place are rounded up to a whole one; the rest holds the excess, negated.
    assert (shadow, rest) == (np.float32(1 + 2**-23), np.float32(-3 * 2**-26))


def bits(*values: int) -> np.ndarray:
    return np.array(values, "uint32").view("float32")


def test_bfloat16_is_rounded_to_nearest_ties_to_even():
    given = bits(0x3F800000, 0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F818000, 0xBF818000, 0x80000000, 0x00008001)
    assert [f"{value:04x}" for value in rounded(given, "bfloat16").view("uint16")] == [
        *("3f80", "3f80", "3f80", "3f81", "3f82", "bf82", "8000", "0001"),
    ]


def test_bfloat16_keeps_what_is_no_finite_number_and_overflows_to_infinity():
    given = bits(0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x7FC00000, 0x7F800001, 0xFFFFFFFF)
    got = widened(rounded(given, "bfloat16"))
    assert got[:3].tolist() == [np.inf, -np.inf, np.inf]
    assert np.isnan(got[3:]).all()


def test_every_bfloat16_comes_back_from_float32_as_it_was():
    every = np.arange(2**16, dtype="uint16").view("bfloat16")
    wide = widened(every)
    finite = ~np.isnan(wide)
    assert rounded(wide, "bfloat16")[finite].tobytes() == every[finite].tobytes()


def test_rounding_picks_the_nearer_neighbour():
    given = np.random.default_rng(0).normal(size=10_000).astype("float32")
    got = widened(rounded(given, "bfloat16")).astype("float64")
    # A bfloat16 has 8 significant bits: half a unit of the last bit is at most 2^-8 of the power of two below.
    assert (np.abs(got - given) <= 2.0 ** (np.floor(np.log2(np.abs(given))) - 8)).all()


def test_float16_is_rounded_as_numpy_does_and_overflows_to_infinity():
    got = rounded(np.array([1 + 2**-11, 1 + 3 * 2**-11, 1e6, 65519], "float32"), "float16")
    assert got.dtype == np.float16
    assert got.tolist() == [1.0, 1 + 2**-9, np.inf, 65504.0]


def test_scalars_and_empty_arrays_keep_their_shapes():
    assert rounded(np.array(1.5, "float32"), "bfloat16").shape == ()
    assert rounded(np.zeros((0, 3), "float32"), "bfloat16").shape == (0, 3)


def test_bfloat16_from_anything_but_float32_is_refused():
    with pytest.raises(ValueError, match="float64 can not be rounded to bfloat16"):
        rounded(np.zeros(2), "bfloat16")


@given(st.integers(0, 2**16 - 1))
def test_widening_is_exact_and_rounding_back_the_identity(bits):
    for name in ("bfloat16", "float16"):
        half = np.array([bits], np.uint16).view(name)
        wide = widened(half)
        assert wide.dtype == np.float32
        if not np.isnan(wide).any():
            assert rounded(wide, name).tobytes() == half.tobytes()


def test_widening_by_hand():
    assert widened(np.array([0x3FC0, 0xC000], np.uint16).view("bfloat16")).tolist() == [1.5, -2.0]
    other = np.array([1.0])
    assert widened(other) is other


def test_a_shadow_fits_the_type_of_its_weight():
    shadow = np.array([1.2345678], "float32")
    assert fitted(shadow, "bfloat16").view("uint16").tolist() == [0x3F9E]
    assert fitted(shadow, "float16").tolist() == [1.234375]
    assert fitted(shadow, "float32") is shadow


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_number_that_is_not_finite_is_found_and_large_ones_are_none(dtype):
    """The squares of the largest numbers overflow; the numbers are finite all the same."""
    array = np.full((3, 5), np.finfo(dtype).max, dtype)
    array[1] = -array[1]
    assert finite(array) and finite(array[0, 0]) and finite(array[:0])
    for value in (np.nan, np.inf, -np.inf):
        array[2, 3] = value
        assert not finite(array)
    assert not finite(np.array(np.nan, dtype))


def test_a_bfloat16_that_is_not_finite_is_found():
    bits = np.array([0x0000, 0x7F7F, 0xFF7F, 0x0001], np.uint16)
    assert finite(bits.view("bfloat16"))
    for value in (0x7F80, 0xFF80, 0x7FC0, 0xFF81):
        assert not finite(np.append(bits, np.uint16(value)).view("bfloat16"))
