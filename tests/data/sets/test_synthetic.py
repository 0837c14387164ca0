"""The Gaussian clusters."""

import numpy as np

from ppema.data.fields import Field
from ppema.data.sets.synthetic import synthetic


def test_without_noise_a_sample_is_its_prototype():
    train = synthetic(7, (2, 3), 3, noise=0.0, seed=5, split="train")
    test = synthetic(4, (2, 3), 3, noise=0.0, seed=5, split="test")
    assert train.fields == (Field((2, 3), "float32", "input_0"), Field((), "int64", "target", is_target=True))
    assert train.arrays[1].tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(train.arrays[0][3], train.arrays[0][0])
    np.testing.assert_array_equal(test.arrays[0], train.arrays[0][:4])
    assert not np.array_equal(train.arrays[0][0], train.arrays[0][1])
    assert not np.array_equal(synthetic(1, (2, 3), 3, noise=0.0, seed=6).arrays[0], train.arrays[0][:1])


def test_noise_has_its_deviation_and_differs_between_splits():
    clean = synthetic(4000, (5,), 2, noise=0.0, seed=1).arrays[0]
    residuals = {
        split: synthetic(4000, (5,), 2, noise=2.0, seed=1, split=split).arrays[0] - clean for split in ("train", "test")
    }
    for residual in residuals.values():
        assert abs(residual.std() - 2) < 0.05  # 20,000 draws: the standard error is 0.01
        assert abs(residual.mean()) < 0.06
    assert abs(np.corrcoef(residuals["train"].ravel(), residuals["test"].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(residuals["train"], synthetic(4000, (5,), 2, noise=2.0, seed=1).arrays[0] - clean)
