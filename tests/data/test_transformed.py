"""Loaders with transforms: the same batches for any workers and start, shapes after the transforms, and errors."""

import numpy as np
import pytest
from support import transforms
from support.datasets import Squares
from support.where import where
from test_loader import same

from ppema.config.sections.transform_spec import TransformSpec
from ppema.data.fields import Field, FieldNames
from ppema.data.layout import Layout
from ppema.data.loader import Loader
from ppema.data.sets.arrays import ArrayDataset
from ppema.errors import ConfigError, DataError
from ppema.user_code.modules import looking_in

SPECS = [
    TransformSpec(name="RandomCrop", args={"size": [6, 5], "padding": 1}),
    TransformSpec(name="support.transforms.drawing"),
    TransformSpec(name="RandomHorizontalFlip"),
]
ROWS = transforms.images(n=30, channels=1, height=7, width=6)


class Pictures:
    """ROWS, read one by one."""

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, index):
        return ROWS[index], index


def in_memory():
    return ArrayDataset([ROWS, np.arange(30)[:, None]], "memory")


def loader(dataset, specs=SPECS, **options):
    return Loader(dataset, **{"batch_size": 4, "shuffle": True, "seed": 3, "transforms": specs, **options})


def test_batches_are_the_same_for_any_workers_start_and_kind_of_data():
    """With workers, data in memory is read by them too, since transforms take time."""
    alone = loader(Pictures())
    assert alone.fields == (Field((1, 6, 5), "float32", "input_0"), Field((), "int64", "target", True))
    pooled = [loader(Pictures(), workers=2), loader(in_memory(), workers=1)]
    for epoch, start in [(0, 0), (2, 5)]:
        batches = list(alone.epoch(epoch))[start:]
        for other in [alone, loader(in_memory()), alone.twin(drop_last=False), *pooled]:
            assert same(batches, list(other.epoch(epoch, start)))
    for each in pooled:
        each.close()


def test_batches_of_any_size_hold_the_same_samples():
    def samples(batch_size):
        batches = list(loader(in_memory(), batch_size=batch_size).epoch(1))
        return np.concatenate([batch.arrays[0] for batch in batches]).tobytes()

    assert samples(1) == samples(7) == samples(30)


def test_data_in_memory_stays_unchanged():
    dataset = in_memory()
    before = dataset.arrays[0].copy()
    flipped = loader(dataset, [TransformSpec(name="RandomHorizontalFlip", args={"p": 1})])
    (batch,) = (batch for batch in flipped.epoch(0) if 0 in batch.indices)
    row = batch.indices.tolist().index(0)
    assert batch.arrays[0][row].tobytes() == np.ascontiguousarray(before[0, :, :, ::-1]).tobytes()
    assert dataset.arrays[0].tobytes() == before.tobytes()


def test_what_is_known_of_data_in_memory():
    """Labels stay known if transforms change inputs only. Changed masks must be read."""
    assert list(loader(in_memory()).known) == ["target"]
    masks = ArrayDataset([ROWS, np.zeros((30, 7, 6), np.int64)], "memory")
    spec = TransformSpec(name="RandomCrop", args={"size": 6}, fields=("image", "mask"))
    assert loader(masks, [spec], layout=Layout(FieldNames(("image",), ("mask",)))).known is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_that_raises_at_a_sample(workers):
    """Sample 0 is read before, for the shapes."""
    reading = loader(Pictures(), [TransformSpec(name="support.transforms.failing", args={"above": 0.9})], workers=workers)
    (index, *_) = [i for i in reading._plan.order(0).tolist() if ROWS[i].flat[0] > 0.9]
    line = where(transforms, 'raise ValueError("too')
    with pytest.raises(DataError) as caught:
        list(reading.epoch(0))
    reading.close()
    assert str(caught.value) == f"data.train: sample {index}: support.transforms.failing: ValueError: too bright ({line})"


def test_transforms_that_do_not_fit_the_data():
    with pytest.raises(ConfigError) as caught:
        loader(Squares(4), SPECS[:1])
    assert str(caught.value) == ("transforms.0: input_0: expected images [C, H, W] or [H, W], got samples of shape [2]")


def test_a_part_finds_own_transforms_where_its_loader_did(tmp_path):
    (tmp_path / "own_of_a_config.py").write_text("def half(image):\n    return image / 2\n")
    specs = [TransformSpec(name="own_of_a_config.half")]
    with looking_in([str(tmp_path)]):
        whole = loader(in_memory(), specs, shuffle=False)
    part = whole.part(np.array([3, 8]), batch_size=2, workers=0, transforms=specs)
    (batch,) = part.epoch(0)
    assert batch.arrays[0].tobytes() == (ROWS[[3, 8]] / np.float32(2)).tobytes()


def test_workers_without_transforms_are_still_ignored_aloud():
    with pytest.warns(UserWarning, match="workers: 1 is ignored: the data is in memory"):
        loader(in_memory(), [], workers=1)
