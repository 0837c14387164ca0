"""Runs whose ranks share averages, against whole averages of the same run, bit for bit."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.configs import SMALL, Sections, loader
from support.launched import ROOT, launch, launching
from support.worlds import on_ranks

from ppema.checkpoint.begun import Begun
from ppema.checkpoint.checkpoint import Checkpoint
from ppema.checkpoint.folder import step_folder, step_folders
from ppema.checkpoint.state import BEGINNING
from ppema.checkpoint.store import Checkpoints
from ppema.config import load_config
from ppema.distributed.world import ALONE, World
from ppema.errors import ConfigError, DataError
from ppema.ir import backend, scope
from ppema.log.records import read_metrics
from ppema.posthoc.snapshots import Snapshots
from ppema.ranks import Ranks
from ppema.training import setup
from ppema.training.checks.statecheck import StateCheck
from ppema.training.course import Course
from ppema.training.loop import train
from ppema.training.setup import prepare_training
from ppema.training.shown.describe import describe

# Each average twice: as "<name>_shared", the ranks share it.
SPECS = {
    "mean": "decay: 0.9, update_every: 2",
    "copied": "decay: 0.95, batch_norm: copy, precision: compensated",
    "measured": "decay: 0.9, batch_norm: recalibrate",
    "power": "sigma_rel: 0.1",
}
PAIRS = [f"{name}: {{{spec}}}, {name}_shared: {{{spec}, sharded: true}}" for name, spec in SPECS.items()]
SECTIONS: Sections = {
    **SMALL,
    "averages": f"{{{', '.join(PAIRS)}}}",
    "train": "{epochs: 4, log_every: 5 steps, eval_every: 10 steps, save_every: 1 step, snapshot_every: 10 steps, keep: 30}",
}
HALF = 20  # steps, of 28


def trained(folder: Path, ranks: int, *overrides: str) -> None:
    """Train the run in `folder` in several processes."""
    argv = [str(ROOT / "tools" / "train.py"), "-c", "small.yml"]
    for each in ("output=run", *overrides):
        argv += ["-o", each]
    done = launch(ranks, argv, cwd=folder)
    assert done.code == 0, done.outputs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two ranks up to step HALF."""
    folder = tmp_path_factory.mktemp("sharded")
    loader(folder, SECTIONS)
    trained(folder, 2, f"train.stop_after={HALF} steps")
    return folder / "run"


def bits(arrays, average=""):
    return {name.replace(f".{average}", ""): (each.dtype, each.shape, each.tobytes()) for name, each in arrays.items()}


def checkpoints(run):
    return [Checkpoint.open(path) for path in step_folders(run / "checkpoints")]


def check_same(run, name):
    """The average and its twin have the same bits in each checkpoint and snapshot, and the same figures."""
    twin = f"{name}_shared"
    found = checkpoints(run)
    assert found
    for each in found:
        assert bits(each.arrays(f"average-{name}"), name) == bits(each.arrays(f"average-{twin}"), twin)
    snapshots = Snapshots(run / "snapshots").until(None)
    if name == "power":
        assert all(bits(each.average(name)) == bits(each.average(twin)) for each in snapshots)
    figures: dict[str, list[object]] = {name: [], twin: []}
    healths: dict[str, list[object]] = {name: [], twin: []}
    for each in read_metrics(run):
        if each["kind"] == "eval" and each["weights"] in figures:
            figures[each["weights"]].append({**each, "weights": ""})
        if each["kind"] == "train":
            for weights, of in healths.items():
                health = each["health"][weights]
                of += [health["window"], health["stalled"], health["distance"], *health["groups"].values()]
    assert figures[name] == figures[twin] != []
    assert healths[twin] == pytest.approx(healths[name], rel=1e-12)


@pytest.mark.parametrize("name", SPECS)
def test_a_shared_average_is_the_whole_one(run, name):
    check_same(run, name)


def test_a_shared_average_is_that_of_the_trajectory_in_float64(run):
    found = checkpoints(run)
    assert [each.manifest.state.step for each in found] == list(range(1, HALF + 1))
    weights = 0.95 ** np.arange(HALF - 1, -1, -1.0)
    values = [each.arrays("raw") for each in found]
    for name, shadow in found[-1].shadow_of("copied_shared").items():
        got = found[-1].arrays("average-copied_shared")[shadow]
        expected = sum(w * value[name].astype("float64") for w, value in zip(weights, values, strict=True)) / weights.sum()
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_one_process_goes_on_where_several_stopped(run):
    config = load_config(run.parent / "small.yml", [f"output={run}", "averages.mean_shared.sharded=false"])
    assert train(config).state.step == 28
    for name in SPECS:
        check_same(run, name)


@pytest.mark.campaign
def test_other_numbers_of_ranks_go_on(tmp_path):
    """2, then 3, then 1, then 2 ranks: shared and whole averages have the same bits throughout."""
    loader(tmp_path, SECTIONS)
    for ranks, last in ((2, 7), (3, 14), (1, 21), (2, 28)):
        trained(tmp_path, ranks, f"train.stop_after={last} steps")
    for name in SPECS:
        check_same(tmp_path / "run", name)
    assert Checkpoints(tmp_path / "run" / "checkpoints").find("last").manifest.state.step == 28


@pytest.mark.campaign
def test_a_run_goes_on_from_its_last_checkpoint_after_a_rank_was_killed(tmp_path):
    loader(tmp_path, SECTIONS)
    argv, folder = [str(ROOT / "tools" / "train.py"), "-c", "small.yml", "-o", "output=run"], tmp_path / "run" / "checkpoints"
    long = ["-o", "train.epochs=400", "-o", "train.save_every=10 steps"]
    with launching(2, [*argv, *long], cwd=tmp_path) as job:
        while not step_folder(folder, 20).exists():
            time.sleep(0.01)
        os.kill(job.pid(1), signal.SIGKILL)
        ended = job.end()
    assert ended.code != 0
    assert "rank 1 was killed by SIGKILL" in ended.outputs[0]
    last = Checkpoints(folder).find("last").manifest.state.step
    assert last % 10 == 0
    trained(tmp_path, 3, "train.epochs=400", "train.save_every=10 steps", f"train.stop_after={last + 10} steps")
    for name in SPECS:
        check_same(tmp_path / "run", name)
    assert Checkpoints(folder).find("last").manifest.state.step == last + 10


def test_nothing_is_saved_after_an_error_of_one_rank():
    course = Course.__new__(Course)
    course.state, course._saved, course._owed = BEGINNING.advance(8, 7), (BEGINNING, Begun(), None), None
    course._stepper = SimpleNamespace(unfinished=None, unsavable=False, changed=None)
    course._run = SimpleNamespace(shards=["ema"], world=ALONE)
    assert (
        course.break_off(DataError("a bad sample"))
        == "The state after step 1 is not saved, because the other ranks hold parts of its averages"
    )


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A function that prepares the run of one of several ranks, which are threads of this process."""
    config, opened = loader(tmp_path, SECTIONS), []

    def make(world, *overrides):
        monkeypatch.setattr(setup, "joined", lambda *given: world)
        opened.append(prepare_training(config(*overrides)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_all_ranks_find_what_is_not_finite_on_one(prepared):
    runs = {}

    def work(world):
        rank = world.ranks.rank
        runs[rank] = run = prepared(world)
        check = StateCheck(run, BEGINNING)
        world.meet("all are prepared")
        state = BEGINNING.advance(8, 7)
        assert check.failure(state, state, lambda: None) is None
        if rank == 1:
            average = run.programs.averages["copied_shared"]
            held = average.shadow_of[list(average.shadows)[-1]]
            value = scope.get(run.scope, held)
            scope.put(run.scope, {held: np.full_like(value, np.nan)})
        later = state.advance(8, 7)
        return str(check.failure(later, later, lambda: None))

    first, second = on_ranks(2, work)
    assert first == second
    assert "the average 'copied_shared' of " in first


def test_one_process_has_the_programs_of_whole_averages(tmp_path):
    config, found = loader(tmp_path, SECTIONS), []
    for sharded in ("true", "false"):
        run = prepare_training(config(*(f"averages.{name}_shared.sharded={sharded}" for name in SPECS)))
        programs = [run.programs.startup, run.programs.train, *(test.program for test in run.tests.values())]
        operations = [[replace(op, source="") for op in backend().operations(each)] for each in programs]
        shapes = {name: (each.shape, each.dtype) for part in run.read().values() for name, each in part.items()}
        found.append((operations, shapes))
        run.close()
    assert found[0] == found[1]


def test_each_rank_describes_its_part(prepared):
    run = prepared(World(Ranks(1, 2)))
    (state,) = [table for table in describe(run) if table.title == "State"]
    numbers = {row[0]: int(str(row[2]).replace(",", "")) for row in state.rows}
    scalars = 2  # its count and weight
    for kind, others in (("", scalars), (": lost by rounding (precision: compensated)", 0)):
        whole, part = (numbers[f"average-copied{each}{kind}"] - others for each in ("", "_shared, this rank's part"))
        assert part == -(-whole // 2)


def test_fewer_numbers_than_ranks_are_refused_where_the_average_is(prepared):
    with pytest.raises(
        ConfigError, match=r"averages\.mean_shared: the average 'mean_shared' covers fewer numbers than there are"
    ):
        prepared(World(Ranks(0, 100000)))
