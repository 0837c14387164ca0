"""Paddle's files of weights: those that it writes are read, those that we write it reads."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from paddle_alone import save_dynamic, save_static

from ppema.errors import CheckpointError
from ppema.run.pdparams import pdparams, read_pdparams


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("save", [save_dynamic, save_static])
def test_what_paddle_writes_is_read(tmp_path, save, protocol):
    file = tmp_path / "a.pdparams"
    save(file, protocol)
    found, expected = read_pdparams(file), dict(np.load(f"{file}.npz"))
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in found.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in expected.items()
    }
    assert len(found) == 7 and ("0.weight" in found) == (save is save_dynamic)


def test_what_we_write_is_what_paddle_writes(tmp_path):
    save_dynamic(tmp_path / "theirs.pdparams")
    theirs = pickle.loads((tmp_path / "theirs.pdparams").read_bytes())
    arrays, table = read_pdparams(tmp_path / "theirs.pdparams"), theirs["StructuredToParameterName@@"]
    ours = pickle.loads(pdparams(arrays, table))
    assert list(ours) == list(theirs) and ours["StructuredToParameterName@@"] == table
    assert all(np.array_equal(ours[name], theirs[name]) for name in arrays)
    assert list(pickle.loads(pdparams(arrays, None))) == list(arrays)


def test_slices_of_large_arrays_are_put_together(tmp_path):
    """As protocols 2 and 3 save what is larger than a GiB."""
    file = tmp_path / "a.pdparams"
    parts = {"w@@.0": np.arange(4.0), "w@@.1": np.arange(4.0, 6.0), "b": np.ones(2)}
    sliced = {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}
    file.write_bytes(pickle.dumps({**parts, "UnpackBigParamInfor@@": sliced}, 2))
    found = read_pdparams(file)
    assert {name: array.tolist() for name, array in found.items()} == {"b": [1, 1], "w": [[0, 1, 2], [3, 4, 5]]}
    for bad in ({"w": {"slices": ["x"]}}, {"w": {"OriginShape": (9,), "slices": ["b"]}}, [1], {"w": 3}):
        file.write_bytes(pickle.dumps({**parts, "UnpackBigParamInfor@@": bad}, 2))
        with pytest.raises(CheckpointError, match="a.pdparams: damaged: large arrays whose slices do not fit$"):
            read_pdparams(file)


INSTEAD = "and no array: save the model's state_dict() alone, as paddle.save(model.state_dict(), file)"


class Evil:
    def __reduce__(self):
        return print, ("owned",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"w": Evil()}, "it would call 'builtins.print', and only arrays are admitted"),
        ({"w": np.array([None])}, "it holds an array of type 'O8', and only numbers are admitted"),
        ({"model": {"w": np.ones(2)}, "epoch": 3}, f"'model' is a dict of 1 {INSTEAD}"),
        ({"a\nb": 3.5}, f"'a?b' is a float {INSTEAD}"),
        ({1: np.ones(2)}, "it has the key 1, which is no name of an array"),
        ([np.ones(2)], "it holds a list of 1 and no mapping of arrays by name, such as a layer's state_dict()"),
        (np.ones(2), "it holds an array and no mapping of arrays by name, such as a layer's state_dict()"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, capsys, content, said):
    file = tmp_path / "a.pdparams"
    file.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(CheckpointError) as caught:
        read_pdparams(file)
    assert str(caught.value) == f"{file}: {said}"
    assert capsys.readouterr().out == ""


def test_what_can_not_be_read_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="a.pdparams: No such file or directory$"):
        read_pdparams(tmp_path / "a.pdparams")
    with pytest.raises(CheckpointError, match=": it is no regular file$"):
        read_pdparams(tmp_path)
    (tmp_path / "b.pdparams").write_bytes(b"")
    with pytest.raises(CheckpointError, match="b.pdparams: damaged: pickle exhausted before seeing STOP$"):
        read_pdparams(tmp_path / "b.pdparams")
