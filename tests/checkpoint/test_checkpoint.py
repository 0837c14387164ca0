"""One checkpoint on disk: its arrays and state are read back, and damage is always refused."""

from __future__ import annotations

import math
import random
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open
from support.checkpoints import AVERAGE, MANIFEST, PARTS, RAW, SAVED, save

from ppema.checkpoint.checkpoint import Checkpoint, check_fits
from ppema.checkpoint.manifest import Manifest, sealed
from ppema.checkpoint.state import Losses, State
from ppema.checkpoint.store import Checkpoints
from ppema.errors import CheckpointError

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", keep=2)


def test_the_format_is_what_it_was(checkpoints):
    """The format stays the same, byte for byte, for other programs that read version 2."""
    path = save(checkpoints, 1)
    files = {file.name: file.read_bytes() for file in path.iterdir()}
    assert files.pop("manifest.json").decode() == (GOLDEN / "manifest.json").read_text(encoding="utf-8")
    assert {name: content.hex(" ", 8) for name, content in files.items()} == {
        file.stem: file.read_text().strip() for file in GOLDEN.glob("*.hex")
    }
    assert (checkpoints.folder / "last").read_text() == (GOLDEN / "last").read_text()


def test_arrays_come_back_bit_for_bit(checkpoints):
    save(checkpoints, 1)
    found = checkpoints.find("last")
    for part, arrays in PARTS.items():
        read = found.arrays(part)
        assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read.items()} == {
            name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()
        }


def test_an_average_is_read_under_the_variables_own_names(checkpoints):
    save(checkpoints, 1)
    weights = checkpoints.find("last").weights("ema")
    assert {name: value.tolist() for name, value in weights.items()} == {"w": [[0.5, 0.25]], "mean": 3.0}
    with pytest.raises(CheckpointError, match="there are no weights 'long'; there are raw, ema"):
        checkpoints.find("last").weights("long")


def test_the_manifest_comes_back_with_its_files(checkpoints):
    path = save(checkpoints, 5)
    found = checkpoints.find("last").manifest
    assert found.files.keys() == {"raw.safetensors", "average-ema.safetensors"}
    assert all(record.size == (path / name).stat().st_size for name, record in found.files.items())
    assert found.model_copy(update={"files": {}, "checksum": MANIFEST.checksum}) == MANIFEST


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize("name", ["raw.safetensors", "average-ema.safetensors", "manifest.json"])
def test_a_damaged_file_is_never_loaded(checkpoints, name, damage):
    """After a cut at a random length or one flipped bit, `find` names the file, and resuming takes the checkpoint before."""
    save(checkpoints, 1)
    path, rng = save(checkpoints, 2), random.Random(0)
    whole = (path / name).read_bytes()
    for _ in range(60):
        (path / name).write_bytes(damage(whole, rng))
        check_falls_back(checkpoints, path, name)
    (path / name).write_bytes(whole)
    assert checkpoints.newest_intact()[0].path == path


@pytest.mark.parametrize("name", ["raw.safetensors", "average-ema.safetensors", "manifest.json"])
def test_a_missing_or_swapped_file_is_never_loaded(checkpoints, name):
    other = {"raw": {name: -array for name, array in RAW.items()}, "average-ema": {n: a * 2 for n, a in AVERAGE.items()}}
    first, path = save(checkpoints, 1, parts=other), save(checkpoints, 2)
    shutil.copy(first / name, path / name)
    check_falls_back(checkpoints, path, name)
    (path / name).unlink()
    check_falls_back(checkpoints, path, name)


def check_falls_back(checkpoints, path, name):
    """`find` names the file in one line, and resuming takes the checkpoint before."""
    with pytest.raises(CheckpointError, match=re.escape(f"{path}/")) as caught:
        checkpoints.find("last")
    assert (path.name, name) == ("step-00000002", name)
    assert f"{path / name}: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    found, (skipped,) = checkpoints.newest_intact()
    assert found.path.name == "step-00000001"
    assert skipped == str(caught.value)


def test_another_steps_folder_in_its_place_is_not_loaded(checkpoints):
    first, path = save(checkpoints, 1), save(checkpoints, 2)
    shutil.rmtree(path)
    shutil.copytree(first, path)
    with pytest.raises(CheckpointError, match=r"step-00000002/manifest.json: damaged: it is the manifest of step 1"):
        checkpoints.find("last")
    # A copy under a user's own name is accepted.
    shutil.copytree(first, checkpoints.folder.parent / "mine")
    assert checkpoints.find(str(checkpoints.folder.parent / "mine")).step == 1


def written_by_somebody(**values):
    """A manifest of `values` with a correct checksum."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Pydantic serializer warnings")
        return sealed(MANIFEST.model_copy(update=values))[0]


WRONG = {
    "empty": b"",
    "cut": b"{",
    "a list": b"[]",
    "no json": b"\xff",
    "deep": b"[" * 100_000,
    "an unsealed one": b'{"format": 1}',
    "format 3": written_by_somebody(format=3),
    "a state that is none": written_by_somebody(state={"step": "x", "epoch": 0, "batch": 0, "samples": 0}),
    "a negative step": written_by_somebody(state={"step": -1, "epoch": 0, "batch": 0, "samples": 0}),
    "a position without its skipped steps": written_by_somebody(state={"step": 5, "epoch": 0, "batch": 5, "samples": 20}),
    "a fractional step": written_by_somebody(state={"step": 5.0, "epoch": 0, "batch": 5, "samples": 20, "skipped": 0}),
    "a loss that is no number": written_by_somebody(interval=Losses(1, math.nan)),
    "an average that is none": written_by_somebody(averages={"ema": {}}),
    "a best that is none": written_by_somebody(best={"ema/x": {"a": 1}}),
    "a schedule that is none": written_by_somebody(lr=5),
    "a file elsewhere": written_by_somebody(files={"../../raw.safetensors": {"size": 1, "xxh3_128": "0"}}),
    "a file at the root": written_by_somebody(files={"/etc/passwd.safetensors": {"size": 1, "xxh3_128": "0"}}),
    "a file of another kind": written_by_somebody(files={"raw.pkl": {"size": 1, "xxh3_128": "0"}}),
    "a file of no size": written_by_somebody(files={"raw.safetensors": {"size": -1, "xxh3_128": "0"}}),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_is_refused_in_one_line(checkpoints, content):
    path = save(checkpoints, 1)
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest.json: damaged, or of another format: ") as caught:
        Checkpoint.open(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("wrong", [{"state": State(-1, 0, 0, 0, 0)}, {"interval": Losses(1, math.nan)}], ids=str)
def test_what_could_not_be_read_again_is_not_written(wrong):
    """A manifest made from values is validated too, with its dataclasses."""
    with pytest.raises(ValidationError):
        Manifest(**{**dict(MANIFEST), **wrong})


def test_another_models_checkpoint_is_refused(checkpoints):
    save(checkpoints, 1)
    found = checkpoints.find("last")
    with pytest.raises(CheckpointError, match="it lacks variable 'b' and 1 more: it is another model's"):
        check_fits(found.path, RAW, ["w", "mean", "b", "c"])
    with pytest.raises(CheckpointError, match="it has the unknown variable 'mean'"):
        check_fits(found.path, RAW, ["w"])


def test_a_part_or_a_shadow_that_is_not_there_is_named(checkpoints):
    save(checkpoints, 1, parts={"raw": RAW, "average-ema": {"ema/count": np.array(7)}})
    found = checkpoints.find("last")
    with pytest.raises(CheckpointError, match="average-ema.safetensors: it lacks variable 'w/ema'"):
        found.weights("ema")
    with pytest.raises(CheckpointError, match=r"manifest.json: it knows no file optimizer.safetensors"):
        found.arrays("optimizer")


@pytest.mark.parametrize("part", ["raw", "average-ema"])
def test_a_manifest_that_leaves_a_file_out_is_damaged(checkpoints, part):
    save(checkpoints, 1)
    path = save(checkpoints, 2, parts={name: arrays for name, arrays in PARTS.items() if name != part})
    with pytest.raises(CheckpointError, match=f"{path}/manifest.json: damaged: it knows no file {part}.safetensors"):
        checkpoints.find("last")
    assert checkpoints.newest_intact()[0].step == 1


def test_half_weights_keep_their_bits_and_get_an_average_rounded_to_their_type(checkpoints):
    raw = {"f": np.array([1.5], "float16"), "g": np.array([1], "bfloat16"), "d": np.array([0.1])}
    shadows = {
        "f/ema": np.array([1.2345678], "float32"),
        "g/ema": np.array([1.2345678], "float32"),
        "d/ema": np.array([0.3]),
    }
    saved = SAVED.model_copy(update={"shadow_of": {name: f"{name}/ema" for name in raw}})
    manifest: Manifest = MANIFEST.model_copy(update={"averages": {"ema": saved}})
    path = save(checkpoints, 5, parts={"raw": raw, "average-ema": shadows}, manifest=manifest)
    found = checkpoints.find("last")
    read = found.arrays("raw")
    assert {name: (value.dtype, value.tobytes()) for name, value in read.items()} == {
        name: (value.dtype, value.tobytes()) for name, value in raw.items()
    }
    weights = found.weights("ema")
    assert weights["f"].dtype == np.float16 and weights["f"].tolist() == [1.234375]
    assert weights["g"].dtype == "bfloat16" and weights["g"].view("uint16").tolist() == [0x3F9E]
    assert weights["d"].dtype == np.float64 and weights["d"].tolist() == [0.3]
    with safe_open(path / "raw.safetensors", framework="np") as file:
        assert file.get_slice("g").get_dtype() == "BF16"
