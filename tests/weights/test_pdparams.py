"""Paddle's files of weights: ppema reads those of Paddle, and Paddle reads those of ppema."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support.paddle_alone import save_dynamic, save_static

from ppema.errors import CheckpointError
from ppema.weights.pdparams import pdparams, read_pdparams


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


def test_bfloat16_is_its_bits_in_a_file_and_a_type_in_memory(tmp_path):
    given = np.array([[1.5, -2], [3, np.inf]], "bfloat16")
    (tmp_path / "a.pdparams").write_bytes(content := pdparams({"w": given.T, "n": np.array(3)}, None))
    saved = pickle.loads(content)["w"]
    assert saved.dtype == "uint16" and saved.tolist() == [[0x3FC0, 0x4040], [0xC000, 0x7F80]]
    found = read_pdparams(tmp_path / "a.pdparams")
    assert found["w"].dtype == "bfloat16" and found["w"].tolist() == [[1.5, 3], [-2, np.inf]] and found["n"] == 3


@pytest.mark.parametrize("protocol", [2, 3])
def test_slices_that_paddle_makes_are_put_together(tmp_path, protocol):
    """Paddle's own function that slices arrays, with 64 bytes in place of 1 GiB."""
    from paddle.framework import io_utils

    source = inspect.getsource(io_utils._unpack_saved_dict)
    assert source.count("2**30") == 1
    names = dict(vars(io_utils))
    exec(source.replace("2**30", "2**6"), names)
    arrays = {"w": np.arange(100, dtype="float32").reshape(4, 25), "b": np.ones(3), "h": np.arange(99, dtype="uint16")}
    saved = names["_unpack_saved_dict"](dict(arrays), protocol)
    assert len(saved["UnpackBigParamInfor@@"]["w"]["slices"]) == 7 and "w" not in saved
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(saved, protocol))
    found = read_pdparams(tmp_path / "a.pdparams")
    assert sorted(found) == ["b", "h", "w"]
    arrays["h"] = arrays["h"].view("bfloat16")
    assert all(found[n].dtype == a.dtype and found[n].tobytes() == a.tobytes() for n, a in arrays.items())


def test_slices_of_large_arrays_are_put_together(tmp_path):
    """Protocols 2 and 3 save an array of more than 1 GiB in slices."""
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


def doubling(kind, levels=40):
    """A pickle of 10 bytes per level whose value has 2^levels parts: each level holds the one below it twice, by the memo."""
    value = kind([1.0])
    for _ in range(levels):
        value = kind([value, value])
    return value


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    ("parts", "sliced"),
    [
        ({"a": doubling(list)}, {"slices": ["a"], "OriginShape": (2,)}),
        ({"a": doubling(tuple)}, {"slices": ["a"], "OriginShape": (2,)}),
        ({"a": np.ones(1)}, {"slices": doubling(tuple), "OriginShape": (2,)}),
        ({"a": np.ones(1)}, {"slices": ["a"], "OriginShape": doubling(list)}),
        ({"a": np.ones(1), "b": np.ones(1, "int8")}, {"slices": ["a", "b"], "OriginShape": (2,)}),
    ],
    ids=["list", "tuple", "names", "shape", "types"],
)
def test_slices_that_double_are_refused_at_once(tmp_path, parts, sliced, protocol):
    """40 levels would be 2^40 numbers. The process that reads them is limited to 3 GiB and 20 seconds."""
    file = tmp_path / "a.pdparams"
    file.write_bytes(pickle.dumps({**parts, "UnpackBigParamInfor@@": {"w": sliced}}, protocol))
    assert file.stat().st_size < 1000
    assert read_apart(file) == f"{file}: damaged: large arrays whose slices do not fit\n"


def test_one_array_under_many_names_is_no_larger_than_the_file(tmp_path):
    """100,000 names of one array of 100 kB would be 10 GB of slices."""
    file, shared = tmp_path / "a.pdparams", np.zeros(12_500)
    parts = {f"{index}": shared for index in range(100_000)}
    file.write_bytes(
        pickle.dumps({**parts, "UnpackBigParamInfor@@": {"w": {"slices": [*parts], "OriginShape": (1_250_000_000,)}}}, 2)
    )
    assert read_apart(file) == f"{file}: its arrays would take more memory than the file has bytes\n"


def read_apart(file) -> str:
    """The message of reading `file`, in a process with little memory."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)\n"
        "from pathlib import Path; from ppema.errors import CheckpointError; from ppema.weights.pdparams import read_pdparams\n"
        "try: read_pdparams(Path(sys.argv[1]))\nexcept CheckpointError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, timeout=20)
    assert done.stderr == ""
    return done.stdout


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
