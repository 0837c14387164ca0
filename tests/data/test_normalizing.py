"""Means and deviations of inputs over a data set, against numpy in float64."""

import numpy as np
import pytest

from ppema.data.fields import Field
from ppema.data.loader import Loader
from ppema.data.normalizing import Spread, broadcast, channel_count, normalisable, rows_at_a_time, spreads
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def of(dataset: ArrayDataset, batch_size: int) -> Spread:
    loader = Loader(dataset, batch_size=batch_size)
    return spreads(loader, normalisable(loader.fields))["input_0"]


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 4, 5), (0, 2, 3)), ((6,), 0), ((), None), ((4, 5), None), ((2, 3, 4, 5), None)]
)
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_they_are_exact_for_any_batch_size(generator, shape, axes, batch_size):
    """The values are far from 0, where a difference of sums of squares would lose all digits."""
    values = (1000 + generator.normal(size=(23, *shape))).astype(np.float32)
    found = of(ArrayDataset((values, np.arange(23)), "memory"), batch_size)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(found.mean, np.atleast_1d(exact.mean(axis=axes)), rtol=1e-14)
    np.testing.assert_allclose(np.sqrt(found.squares / found.count), np.atleast_1d(exact.std(axis=axes)), rtol=1e-12)
    field = Loader(ArrayDataset((values, np.arange(23)), "memory"), batch_size=1).fields[0]
    assert len(found.mean) == channel_count(field)
    normal = (values - broadcast(found.numbers.mean, field)) / broadcast(found.numbers.std, field)
    np.testing.assert_allclose(normal.mean(axis=axes, dtype=np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(normal.std(axis=axes, dtype=np.float64), 1, rtol=1e-4)


def test_the_numbers_are_float32_as_short_decimals():
    numbers = of(ArrayDataset((np.array([[0.1], [0.2]], np.float32), np.arange(2)), "memory"), 2).numbers
    assert (numbers.mean, numbers.std) == ((0.15,), (0.05,))


def test_a_constant_channel_has_the_deviation_one():
    values = np.stack([np.full(9, 0.1), np.arange(9)], axis=1).astype(np.float32)
    found = of(ArrayDataset((values, np.arange(9)), "memory"), 2)
    assert found.constant.tolist() == [True, False]
    assert found.numbers.std[0] == 1
    assert found.numbers.mean[0] == 0.1


def test_a_value_that_is_not_finite_is_refused_with_its_sample():
    values = np.zeros((9, 2), np.float32)
    values[5, 1] = np.nan
    with pytest.raises(DataError) as caught:
        of(ArrayDataset((values, np.arange(9)), "memory"), 2)
    assert str(caught.value) == (
        "data.train: sample 5: input_0 holds nan, and has no mean: leave the sample out, or fill the value in"
    )


def test_which_fields_and_how_many_samples_at_a_time():
    image, ids = Field((3, 224, 224), "float32", "image"), Field((9,), "int64", "ids")
    target = Field((4,), "float32", "target", is_target=True)
    assert normalisable((image, ids, target)) == [image]
    assert rows_at_a_time([image]) == 6
    assert rows_at_a_time([Field((), "float32", "x")]) == 1024
    assert channel_count(Field((-1,), "float32", "sound")) == 1
