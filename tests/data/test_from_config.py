"""From a config's section to a data set and its loader."""

from types import SimpleNamespace

import numpy as np
import pytest
from support import datasets
from support.where import where

from ppema.config.sections.data_sets import KINDS, DottedData
from ppema.data.from_config import SOURCES, build_dataset, build_loader
from ppema.data.sets.image_folder import ImageFolderDataset
from ppema.errors import ConfigError, DataError

COMMON = {"batch_size": 2, "shuffle": True, "drop_last": False, "workers": 0}


def spec(name, **keys):
    return SimpleNamespace(name=name, **COMMON, **keys)


def dotted(name, **args):
    return spec(f"support.datasets.{name}", args=args)


def test_every_kind_of_section_has_a_source():
    assert set(SOURCES) == set(KINDS)


def test_sources(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    (tmp_path / "data.csv").write_text("a,y\n1,2\n")
    assert len(build_dataset(spec("digits", split="test"))) == 355
    assert len(build_dataset(spec("npz", path=str(tmp_path / "data.npz"), inputs=("x",), targets=("y",)))) == 3
    table = {"target": "y", "header": True, "delimiter": ",", "target_dtype": "int64"}
    assert len(build_dataset(spec("csv", path=str(tmp_path / "data.csv"), **table))) == 1
    made = {"samples": 6, "shape": (2,), "classes": 2, "noise": 0.1, "seed": 0, "split": "train"}
    assert len(build_dataset(spec("synthetic", **made))) == 6


def missing(section) -> str:
    with pytest.raises(ConfigError) as caught:
        build_dataset(section)
    return str(caught.value)


def test_a_missing_file_is_named_by_its_key_and_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = {"target": "y", "header": True, "delimiter": ",", "target_dtype": "int64"}
    assert missing(spec("csv", path="a/none.csv", **table)) == f"path: no such file: {tmp_path}/a/none.csv"
    assert missing(spec("image_folder", path="none", size=(2, 2), channels=3)) == f"path: no such folder: {tmp_path}/none"
    (tmp_path / "images").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\1" * 3 + b"\7")
    assert missing(spec("idx", images="images", labels="none")).startswith(f"labels: no such file: {tmp_path}/none; download")


def test_a_file_that_a_users_data_set_misses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = where(datasets, "open(f")
    said = f"FileNotFoundError: No such file or directory: '{tmp_path}/pictures/list.txt' ({opened})"
    assert missing(dotted("Files", root="pictures", other="x")) == f"args.root: {said}"
    with pytest.raises(DataError) as caught:
        build_dataset(dotted("Files", other="x"), "data.eval")
    assert str(caught.value) == f"data.eval: support.datasets.Files: {said}"


def test_a_data_set_of_the_users_own():
    dataset = build_dataset(dotted("Squares", samples=3))
    assert [target for _, target in (dataset[i] for i in range(3))] == [0, 1, 2]


def test_a_built_in_by_its_dotted_path(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    name = "ppema.data.sets.image_folder.ImageFolderDataset"
    assert isinstance(build_dataset(spec(name, args={"path": str(tmp_path), "size": [2, 2]})), ImageFolderDataset)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        (dotted("Squares", sample=3), ("args", "sample")),
        (dotted("Squared"), ("name",)),
        (spec("digit", args={}), ("name",)),
    ],
)
def test_what_the_config_has_wrong(section, path):
    with pytest.raises(ConfigError) as caught:
        build_dataset(section)
    assert caught.value.problems[0].path == path


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            dotted("refusing", reason="no disk"),
            f"refusing: RuntimeError: no disk on two lines ({where(datasets, 'on two lines')})",
        ),
        (dotted("Squares", samples=0), "Squares: the data set is empty"),
        (dotted("Squares", samples=-1), "Squares: len(Squares): ValueError: __len__() should return >= 0"),
        (
            dotted("Stream"),
            "Stream: Stream has no __len__ and no __getitem__; a data set needs __len__ and __getitem__, "
            "to be shuffled and resumed",
        ),
        (
            dotted("IterableDataset"),
            "IterableDataset: IterableDataset is an IterableDataset; a data set needs __len__ and __getitem__, "
            "to be shuffled and resumed",
        ),
    ],
)
def test_what_the_data_set_has_wrong(section, message):
    with pytest.raises(DataError) as caught:
        build_dataset(section, "data.eval")
    assert str(caught.value) == f"data.eval: support.datasets.{message}"


def test_loader_of_a_section():
    batches = []
    for workers in (0, 2):
        keys = {"name": "support.datasets.Squares", "args": {"samples": 5}, "batch_size": 2, "shuffle": True}
        loader = build_loader(DottedData.model_validate({**keys, "workers": workers}), seed=3, label="data.train")
        batches.append([batch.indices.tolist() for batch in loader.epoch(0)])
        loader.close()
    assert batches[0] == batches[1]
    assert [len(batch) for batch in batches[0]] == [2, 2, 1]
    assert sorted(index for batch in batches[0] for index in batch) == [0, 1, 2, 3, 4]
