"""ppema.average as library users call it: arguments, results, errors, and the example in docs/post-hoc.md."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.configs import with_snapshots

import ppema
from ppema.cli.average import main as average_main
from ppema.config import Config
from ppema.errors import PpemaError

PAGE = (Path(__file__).parents[2] / "docs/post-hoc.md").read_text(encoding="utf-8")
MINE = ("train.epochs=6", "output=runs/digits_posthoc")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a run of 60 steps. Its config and output have the names on the page."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ppema.train(with_snapshots(folder, *MINE))
    (folder / "configs").mkdir()
    shutil.copy(folder / "runs/digits_posthoc/config.yml", folder / "configs/digits_posthoc.yml")
    return folder


@pytest.fixture
def config(done, tmp_path, monkeypatch) -> Config:
    """The run's config, in a copy of the folder as the current one."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return ppema.load_config("configs/digits_posthoc.yml")


def test_lengths_are_numbers_texts_or_lists_of_them(config):
    folder = Path("runs/digits_posthoc/averages")
    outcome = ppema.average(config, sigma_rel=[0.15, np.float64(0.07)], recalibrate_batches=0)
    assert [row.name for row in outcome.rows] == ["sigma_rel 0.07", "sigma_rel 0.15"]
    assert outcome.files == [folder / "sigma_rel-0.07.safetensors", folder / "sigma_rel-0.15.safetensors"]
    assert outcome.best in outcome.rows
    both = [file.read_bytes() for file in outcome.files]
    arguments = ["-c", "configs/digits_posthoc.yml", "--recalibrate-batches", "0", "--sigma-rel", "0.15,0.07"]
    assert average_main(arguments) == 0
    assert [file.read_bytes() for file in outcome.files] == both
    (one,) = ppema.average(config, sigma_rel=0.07, recalibrate_batches=0, name="one").files
    assert one.read_bytes() == both[0]
    (half,) = ppema.average(config, half_life="2 epochs", recalibrate_batches=0).rows
    assert (half.name, half.length) == ("half_life 2 epochs", 20.0)


def test_a_run_is_named_by_its_folder_wherever_that_is(config, tmp_path, monkeypatch):
    here = ppema.average("runs/digits_posthoc", last_checkpoints=2, recalibrate_batches=0)
    assert [row.parts for row in here.rows] == [2]
    shutil.move("runs/digits_posthoc", "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = ppema.average(Path("../moved"), last_checkpoints=2, recalibrate_batches=0)
    assert there.files == [Path("../moved/averages/last-2.safetensors")] and there.rows == here.rows
    assert ppema.average(ppema.run("../moved"), last_checkpoints=2, recalibrate_batches=0).rows == here.rows
    with pytest.raises(PpemaError, match="^nowhere: this is no run of ppema: there is no such folder"):
        ppema.average("nowhere", last_checkpoints=2)


BAD = [
    ({}, "give one of sigma_rel, half_life, search and last_checkpoints, not 0"),
    ({"sigma_rel": 0.1, "half_life": "1 epoch"}, "give one of sigma_rel, half_life, search and last_checkpoints, not 2"),
    ({"sigma_rel": 0.1, "points": 3}, "points: it goes with search"),
    ({"half_life": 20}, "half_life: expected a duration such as '50 steps', '1 epoch', '2000 samples' or '10 %', got '20'"),
    ({"sigma_rel": []}, "sigma_rel: expected a number such as 0.05, got ''"),
    ({"search": "random"}, "search: expected grid or golden, got 'random'"),
    ({"search": "grid", "over": "decay"}, "over: expected sigma_rel or half_life, got 'decay'"),
    ({"search": "grid", "points": 2.5}, "points: expected an integer from 2 to 10000, got 2.5"),
    ({"search": "grid", "between": 0.1}, "between: expected two lengths such as '0.02,0.25', got '0.1'"),
    ({"last_checkpoints": True}, "last_checkpoints: expected 1 or more, got True"),
    ({"last_checkpoints": 2, "step": 50}, "step: it goes with averages from snapshots, not with last_checkpoints"),
    ({"sigma_rel": 0.1, "step": "50"}, "step: expected 1 or more, got '50'"),
    ({"sigma_rel": 0.1, "recalibrate_batches": -1}, "recalibrate_batches: expected 0 or more batches, got -1"),
    ({"sigma_rel": 0.1, "name": "../x"}, "name: expected a name made of letters, digits, '.', '_', '+' and '-', got '../x'"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_a_wrong_argument_is_named(config, arguments, said):
    with pytest.raises(PpemaError) as caught:
        ppema.average(config, **arguments)
    assert str(caught.value) == said
    assert not Path("runs/digits_posthoc/averages").exists()


def test_the_example_on_the_page(config, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    exec(compile(example, "post-hoc.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.startswith("sigma_rel 0.") for line in lines)
    written = sorted(path.stem for path in Path("runs/digits_posthoc/averages").glob("*.safetensors"))
    assert written == ["grid-sigma_rel", "half_life-2_epochs", "half_life-30_steps", "last-2"]
    assert Path("best.pdparams").is_file()
