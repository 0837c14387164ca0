"""The loaders of a config's data: the parts of a split, as training and evaluation read them."""

import numpy as np
import pytest
from support.config_values import MINIMAL

from ppema.config import Config
from ppema.data import build_dataset
from ppema.errors import ConfigError
from ppema.programs.loaders import eval_loader, train_loader

TRAIN = {"name": "digits", "split": "train", "batch_size": 64, "shuffle": True, "drop_last": True}


def config(split: dict, **data) -> Config:
    return Config.model_validate({**MINIMAL, "data": {"train": TRAIN, "split": split, **data}})


def test_the_folds_of_a_config():
    """Evaluations read each sample once over all folds, and training never reads one of its evaluation."""
    labels = build_dataset(config({"fold": 0, "of": 3}).data.train).arrays[1]
    read = []
    for fold in range(3):
        made = config({"fold": fold, "of": 3})
        evaluated = eval_loader(made)
        trained = train_loader(made, evaluated)
        order = np.concatenate([batch.indices for batch in evaluated.epoch(0)])
        assert np.all(np.diff(order) > 0)
        np.testing.assert_array_equal(np.concatenate([batch.arrays[1] for batch in evaluated.epoch(0)]), labels[order])
        seen = [np.concatenate([batch.indices for batch in trained.epoch(epoch)]) for epoch in range(2)]
        assert len(seen[0]) == len(seen[1]) == trained.samples // 64 * 64
        assert not np.array_equal(*seen)
        assert not set(order) & set(np.concatenate(seen))
        assert evaluated.samples + trained.samples == len(labels)
        counts = [np.bincount(labels[order]), np.bincount(labels) / 3]
        assert np.abs(counts[0] - counts[1]).max() < 1
        read += order.tolist()
    assert sorted(read) == list(range(len(labels)))


def test_how_the_part_is_read():
    split = {"fraction": 0.25, "seed": 1}
    made = config(split, eval={"batch_size": 100})
    assert (eval_loader(made).batch_size, eval_loader(config(split)).batch_size) == (100, 64)
    assert eval_loader(made).samples == round(0.25 * 1442)
    assert train_loader(made, eval_loader(made)).label == eval_loader(made).label == "data.train"
    with_other_seed = eval_loader(made.replace(seed=9))
    np.testing.assert_array_equal(with_other_seed.others, eval_loader(made).others)


def test_an_empty_part_is_refused_at_its_key():
    with pytest.raises(ConfigError) as caught:
        eval_loader(config({"fraction": 1e-4}))
    assert str(caught.value) == "data.split.fraction: 0.0001 of 1442 samples are 0: a part would be empty"


def texts(**data) -> Config:
    names = {"inputs": ["tokens"], "targets": ["label"]}
    spec = {"name": "support.datasets.Texts", "args": {"samples": 4}, "batch_size": 2}
    both = {"train": spec, "eval": {**spec, "args": {"samples": 4, "seed": 2}}}
    return Config.model_validate({**MINIMAL, "data": {**both, **names, **data}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"shapes": {"tokens": [-1, 2]}},
            "data.shapes.tokens: [-1, 2] does not fit sample 0, int64 [4] (data.eval)",
        ),
        (
            {"collate": "pad"},
            "data.collate: pad requires data.shapes with -1 for each dimension to pad, as in {tokens: [-1]} (data.eval)",
        ),
        (
            {"shapes": {"tokens": [-1]}, "collate": {"name": "pad", "args": {"values": {"label": 0}}}},
            "data.collate.args.values.label: data.shapes declares no -1 for this field (data.eval)",
        ),
        ({"collate": "pads"}, "data.collate.name: unknown collate 'pads'; did you mean 'pad'?"),
        (
            {},
            "data.eval: its samples are int64 [4], int64 []; those of data.train are int64 [8], int64 []; data.shapes declares "
            "shapes that differ, as in {tokens: [-1]}",
        ),
    ],
)
def test_shapes_and_padding_that_do_not_fit_are_refused_at_their_key(data, message):
    made = texts(**data)
    with pytest.raises(ConfigError) as caught:
        train_loader(made, eval_loader(made))
    assert str(caught.value) == message


def test_transforms_of_both_parts():
    """Evaluation reads the kept samples without the transforms of training, unless it has its own."""
    crop = [{"name": "RandomCrop", "args": {"size": 8, "padding": 1}}]
    made = config({"fraction": 0.25}, train={**TRAIN, "transforms": crop})
    evaluated = eval_loader(made)
    images = build_dataset(made.data.train).arrays[0]
    for batch in evaluated.epoch(0):
        np.testing.assert_array_equal(batch.arrays[0], images[batch.indices])
    (batch, *_) = train_loader(made, evaluated).epoch(0)
    assert not np.array_equal(batch.arrays[0], images[batch.indices])
    with pytest.warns(UserWarning, match="^data.eval.transforms: RandomCrop is random: evaluations measure changed samples"):
        eval_loader(config({"fraction": 0.25}, eval={"transforms": crop}))


def test_transforms_that_change_shapes_or_dtypes_in_training_only():
    resize = {"name": "Resize", "args": {"size": 16}}
    made = config({"fraction": 0.25}, train={**TRAIN, "transforms": [resize]})
    with pytest.raises(ConfigError) as caught:
        train_loader(made, eval_loader(made))
    assert str(caught.value) == (
        "data.split: its samples are float32 [1, 8, 8], int64 []; those of data.train are float32 [1, 16, 16], int64 []; "
        "transforms that change shapes belong into both lists"
    )
    in_counts = {"name": "support.transforms.in_counts"}
    made = config({"fraction": 0.25}, train={**TRAIN, "transforms": [in_counts]})
    with pytest.raises(ConfigError) as caught:
        train_loader(made, eval_loader(made))
    assert str(caught.value) == (
        "data.split: its samples are float32 [1, 8, 8], int64 []; those of data.train are int64 [1, 8, 8], int64 []; "
        "input_0 is float32 in evaluation and int64 in training: a transform that changes a dtype belongs into both lists"
    )
    both = config({"fraction": 0.25}, train={**TRAIN, "transforms": [resize]}, eval={"transforms": [resize]})
    assert train_loader(both, eval_loader(both)).fields[0].shape == (1, 16, 16)
