"""Batches that are padded, stacked with declared shapes, or made by a function of the user."""

import numpy as np
import pytest
from support import collates
from support.datasets import Listed, Squares, Texts
from support.where import where

from ppema.data.fields import Field, FieldNames
from ppema.data.layout import Layout, Padding
from ppema.data.loader import Loader
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import DataError

TEXT = FieldNames(("tokens", "mask"), ("tags", "label"))
SAMPLES = [
    {"tokens": [[5, 6]] * length, "mask": [0.5] * length, "tags": [9] * length, "label": length} for length in (2, 1, 3, 2)
]
SHAPES = {"tokens": (-1, 2), "mask": (-1,), "tags": (-1,)}


def batches(layout: Layout, *samples, **options):
    return [batch.arrays for batch in Loader(Listed(*samples), batch_size=2, layout=layout, **options).epoch(0)]


def test_padded_by_hand():
    layout = Layout(TEXT, SHAPES, padding=Padding({"tokens": 1, "tags": -100}))
    loader = Loader(Listed(*SAMPLES), batch_size=2, layout=layout)
    assert loader.fields == (
        Field((-1, 2), "int64", "tokens"),
        Field((-1,), "float32", "mask"),
        Field((-1,), "int64", "tags", is_target=True),
        Field((), "int64", "label", is_target=True),
    )
    first, second = [batch.arrays for batch in loader.epoch(0)]
    assert [array.tolist() for array in first] == [
        [[[5, 6], [5, 6]], [[5, 6], [1, 1]]],
        [[0.5, 0.5], [0.5, 0.0]],
        [[9, 9], [9, -100]],
        [2, 1],
    ]
    assert [array.shape for array in second] == [(2, 3, 2), (2, 3), (2, 3), (2,)]
    assert [array.dtype.name for array in first] == ["int64", "float32", "int64", "int64"]


def test_padded_to_a_multiple():
    layout = Layout(TEXT, SHAPES, padding=Padding(multiple_of=4))
    assert [arrays[0].shape for arrays in batches(layout, *SAMPLES)] == [(2, 4, 2), (2, 4, 2)]
    layout = Layout(TEXT, {**SHAPES, "tokens": (-1, -1)}, padding=Padding(multiple_of=3))
    assert [arrays[0].shape for arrays in batches(layout, *SAMPLES)] == [(2, 3, 3), (2, 3, 3)]


def test_more_padding():
    layout = Layout(TEXT, SHAPES, padding=Padding({"tags": -100}, multiple_of=2))
    loader = Loader(Listed(*SAMPLES), batch_size=2, layout=layout)
    batch = next(loader.epoch(0))
    longer = loader.longer(batch)
    assert longer is not None and longer.indices is batch.indices
    assert [array.shape for array in longer.arrays] == [(2, 4, 2), (2, 4), (2, 4), (2,)]
    assert longer.arrays[2].tolist() == [[9, 9, -100, -100], [9, -100, -100, -100]]
    assert Loader(Squares(2), batch_size=2).longer(batch) is None


def test_rows_of_arrays_are_padded_to_a_multiple():
    layout = Layout(shapes={"input_0": (-1,)}, padding=Padding({"input_0": 2.5}, multiple_of=4))
    loader = Loader(ArrayDataset((np.zeros((3, 5)), np.arange(3)), "here"), batch_size=3, layout=layout)
    assert next(loader.epoch(0)).arrays[0].tolist() == [[0, 0, 0, 0, 0, 2.5, 2.5, 2.5]] * 3
    assert loader.known is None


def test_a_declared_target_keeps_its_axis():
    """Tags of one token were once a label, without an axis."""
    samples = [([1], [[1]]), ([1, 2], [[1], [2]]), ([3], [[1]]), ([4], [[2]])]
    layout = Layout(shapes={"input_0": (-1,), "target": (-1, 1)}, padding=Padding())
    assert [arrays[1].shape for arrays in batches(layout, *samples)] == [(2, 2, 1), (2, 1, 1)]
    samples = [([1], [1]), ([1, 2], [1, 2]), ([3], [1]), ([4], [2])]
    layout = Layout(shapes={"input_0": (-1,), "target": (-1,)}, padding=Padding())
    assert [arrays[1].shape for arrays in batches(layout, *samples)] == [(2, 2), (2, 1)]


def test_declared_shapes_without_padding():
    """Each batch has one shape, but not the same one."""
    samples = [([0.5] * length, length) for length in (2, 2, 3, 3)]
    assert [a[0].shape for a in batches(Layout(shapes={"input_0": (-1,)}), *samples)] == [(2, 2), (2, 3)]


def refusal(layout: Layout, dataset) -> str:
    with pytest.raises(DataError) as caught:
        for _ in Loader(dataset, batch_size=2, label="data.eval", layout=layout).epoch(0):
            pass
    return str(caught.value).removeprefix("data.eval: ")


PAIRS = Listed(([0.5], 0), ([0.5, 0.5], 1), ([0.5], 1))


@pytest.mark.parametrize(
    ("layout", "dataset", "message"),
    [
        (
            Layout(),
            PAIRS,
            "sample 1: input_0: float32 [2], but sample 0 has float32 [1]; for shapes that differ, set "
            "data.shapes: {input_0: [-1]} and data.collate: pad",
        ),
        (
            Layout(shapes={"input_0": (-1,)}),
            PAIRS,
            "sample 1: input_0: shape [2], but sample 0 of its batch has [1]: pad them with data.collate: pad",
        ),
        (
            Layout(shapes={"input_0": (-1, 2)}),
            PAIRS,
            "[-1, 2] does not fit sample 0, float32 [1]",
        ),
        (Layout(shapes={"input": (-1,)}), PAIRS, "there is no such field; did you mean 'input_0'?"),
        (
            Layout(shapes={"input_0": (-1,)}, padding=Padding()),
            Listed(([0.5], 0), ([[0.5]], 1)),
            "sample 1: input_0: float32 [1, 1], expected float32 [-1], as data.shapes declares",
        ),
        (
            Layout(padding=Padding()),
            PAIRS,
            "pad requires data.shapes with -1 for each dimension to pad, as in {tokens: [-1]}",
        ),
        (
            Layout(shapes={"input_0": (-1,)}, padding=Padding({"target": 1})),
            PAIRS,
            "data.shapes declares no -1 for this field",
        ),
        (
            Layout(shapes={"input_0": (-1,)}, padding=Padding({"x": 1})),
            PAIRS,
            "there is no such field; known: input_0, target",
        ),
        (
            Layout(shapes={"input_0": (-1,)}, padding=Padding({"input_0": 0.5})),
            Listed(([1], 0)),
            "expected an integer, as the field is int64, got 0.5",
        ),
    ],
)
def test_shapes_that_do_not_fit(layout, dataset, message):
    assert refusal(layout, dataset) == message


def test_a_collate_function():
    """It gets the samples as the data set returns them. It may draw, and draws the same wherever an epoch starts."""
    layout = Layout(FieldNames(("tokens",), ("label",)), {"tokens": (-1,)}, collate=collates.padded)
    loader = Loader(Texts(10), batch_size=4, layout=layout)
    assert loader.fields == (Field((-1,), "int64", "tokens"), Field((), "int64", "label", is_target=True))
    epochs = [[batch.arrays[0] for batch in loader.epoch(*start)] for start in [(0, 0), (0, 0), (0, 2), (1, 0)]]
    assert [array.tolist() for array in epochs[0]] == [array.tolist() for array in epochs[1]]
    assert epochs[0][2].tolist() == epochs[2][0].tolist()
    drawn = [int(array[0, -1]) for array in (*epochs[0], *epochs[3])]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("collate", "message"),
    [
        (
            collates.raising,
            f"data.collate of samples 0 ... 1: ValueError: 2 are too many ({where(collates, 'raise ValueError(f')})",
        ),
        (collates.shortened, "data.collate of sample 0: expected (input, ..., target), got 0 fields"),
        (lambda samples: (np.zeros((2, 1)), np.zeros(1)), "data.collate of sample 0: input_0: 2 rows for 1 sample"),
        (lambda samples: (np.zeros(1), 3), "data.collate of sample 0: target: a number for 1 sample"),
        (lambda samples: None, "data.collate of sample 0: expected a tuple (input, ..., target), got NoneType"),
        (
            lambda samples: (np.zeros((len(samples), len(samples))), np.zeros(len(samples))),
            "data.collate of samples 0 ... 1: input_0: float32 [2], but sample 0 has float32 [1]; for shapes that differ, set "
            "data.shapes: {input_0: [-1]} and data.collate: pad",
        ),
        (
            lambda samples: (np.zeros(len(samples)),) * (1 + len(samples)),
            "data.collate of samples 0 ... 1: 3 fields, but sample 0 has 2",
        ),
    ],
)
def test_a_collate_function_that_fails(collate, message):
    assert refusal(Layout(collate=collate), Squares(4)) == message
