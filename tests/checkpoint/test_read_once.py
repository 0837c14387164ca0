"""Every file of a checkpoint is opened and checksummed once on its way into variables, another file or a terminal."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import xxhash
from support.configs import loader

from ppema.api import average, evaluate
from ppema.cli.checkpoint import main
from ppema.deploy.weights_export import export_arrays as export
from ppema.training.loop import dry_run, train

PARTS = ("raw", "optimizer", "average-ema", "average-quick")
ALL = ["manifest.json", *(f"{part}.safetensors" for part in PARTS)]
OPENED: list[Path] = []
# Python can not remove an audit hook.
sys.addaudithook(lambda event, args: OPENED.append(Path(args[0])) if event == "open" and isinstance(args[0], str) else None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(loader(folder)("train.stop_after=20 steps"))
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def reads(copied, monkeypatch):
    """A function that calls another, counts how often it opens each file of a checkpoint, and compares with the checksums."""

    def count(work):
        sums, real = [], xxhash.xxh3_128_hexdigest
        monkeypatch.setattr(xxhash, "xxh3_128_hexdigest", lambda content: sums.append(len(content)) or real(content))
        OPENED.clear()
        work()
        files = [path for path in OPENED if path.parent.parent == copied / "run/checkpoints"]
        sizes = [path.stat().st_size for path in files if path.exists()]
        assert Counter(sums) == Counter(sizes)
        return Counter(f"{path.parent.name}/{path.name}" for path in files)

    return count


def of(step, names=ALL):
    return dict.fromkeys((f"step-{step:08d}/{name}" for name in names), 1)


def test_evaluation(copied, reads):
    assert reads(lambda: evaluate(loader(copied)())) == of(20)
    assert reads(lambda: evaluate(loader(copied)(), "ema", "last", batch_norm="all", recalibrate_batches=1)) == of(20)


def test_export(copied, reads):
    assert reads(lambda: export(loader(copied)(), copied / "ema.safetensors", weights="ema")) == of(20)
    assert reads(lambda: export(loader(copied)(), copied / "raw.pdparams")) == of(20)


def test_init_from(copied, reads):
    config = loader(copied)(f"init_from.path={copied / 'run'}", "init_from.weights=ema", f"output={copied / 'new'}")
    assert reads(lambda: dry_run(config)) == of(20)


@pytest.mark.parametrize("resume", ["auto", "last"])
def test_resume(copied, reads, resume):
    config = loader(copied)("train.stop_after=20 steps")
    best = train(config).best["ema/accuracy"].step
    assert best == 10  # only its manifest is read, for the pointer
    assert reads(lambda: train(config, resume=resume)) == of(20) | of(10, ["manifest.json"])


def test_the_mean_of_checkpoints(copied, reads):
    assert reads(lambda: average(loader(copied)(), last_checkpoints=2)) == of(10) | of(20)


def test_a_comparison(copied, reads):
    folders = [str(copied / f"run/checkpoints/step-{step:08d}") for step in (10, 20)]
    assert reads(lambda: main(["diff", *folders])) == of(10) | of(20)
