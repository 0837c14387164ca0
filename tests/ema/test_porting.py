"""docs/porting.md: its programs run, old and new programs give the same numbers, and its tables are true."""

from __future__ import annotations

import builtins
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle import static

import ppema
from ppema.errors import AverageError
from ppema.ir import scope
from ppema.weights.pdparams import read_pdparams

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/porting.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}
PORTED = [
    "The example of Paddle's own class",
    "PaddleDetection: apply_program and restore_program",
    "PaddleClas: the static trainer",
]
PADDLE_2 = paddle.__version__.startswith("2.")


def blocks(section: str, info: str = "") -> list[str]:
    return re.findall(rf"^```python{info}\n(.*?)^```", SECTIONS[section], re.DOTALL | re.MULTILINE)


def rows(section: str) -> list[list[str]]:
    """The cells of the first table, without its header."""
    lines = re.findall(r"^\| (.*) \|$", SECTIONS[section], re.MULTILINE)
    return [line.split(" | ") for line in lines[1:]]


def run(code: str, folder: Path) -> list[float]:
    """The numbers that `code` prints when it runs in a process of its own."""
    folder.mkdir(exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", done.stdout)]


@pytest.mark.campaign
@pytest.mark.parametrize("section", PORTED)
def test_ported_programs_run(section, tmp_path):
    (new,) = blocks(section)
    numbers = run(new, tmp_path)
    assert len(numbers) >= 4 and np.isfinite(numbers).all()


@pytest.mark.skipif(not PADDLE_2, reason="the old programs can not run on Paddle 3")
@pytest.mark.parametrize("section", PORTED)
def test_old_and_ported_programs_print_the_same(section, tmp_path):
    ((old,), (new,)) = blocks(section, " paddle2"), blocks(section)
    folders = [tmp_path / "old", tmp_path / "new"]
    printed = [run(code, folder) for code, folder in zip((old, new), folders, strict=True)]
    assert printed[1] == pytest.approx(printed[0], rel=1e-5)
    for file in folders[0].rglob("*.pdparams"):
        theirs, ours = (read_pdparams(folder / file.relative_to(folders[0])) for folder in folders)
        assert theirs.keys() == ours.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-6, err_msg=f"{file}: {name}")


@pytest.mark.campaign
def test_a_checkpoint_saved_inside_apply_has_averages_as_weights(tmp_path):
    """On both Paddles. The .pdopt of PaddleDetection's port also holds the average of each weight."""
    (code,) = blocks("PaddleDetection: apply_program and restore_program")
    run(code, tmp_path)
    weights, others = (read_pdparams(tmp_path / f"output/9.{suffix}") for suffix in ("pdparams", "pdopt"))
    averaged = [name for name in weights if any(np.array_equal(weights[name], each) for each in others.values())]
    assert {name for name in weights if not name.startswith("learning_rate")} == set(averaged)


@pytest.mark.parametrize("section", PORTED)
def test_every_line_of_the_tables_is_in_its_program(section):
    ((old,), (new,)) = blocks(section, " paddle2"), blocks(section)
    assert len(rows(section)) >= 5
    for before, after in rows(section):
        assert all(code in old for code in re.findall("`(.*?)`", before)), before
        assert all(code in new for code in re.findall("`(.*?)`", after) if code != "compile"), after


WATCHED = """
def state():
    names = ["linear_0.w_0", "linear_0.b_0", "linear_0.w_0_moment1_0", "linear_0.b_0_beta1_pow_acc_0"]
    return {name: np.array(static.global_scope().find_var(name).get_tensor()) for name in names}


before = state()
exe.run(new)
assert all(np.array_equal(before[name], value) for name, value in state().items())
"""


@pytest.mark.campaign
def test_an_average_for_a_program_that_already_runs(tmp_path):
    """The page's program runs, and its second startup program changes neither weights nor the optimizer."""
    (code,) = blocks("An average for a program that already runs")
    assert run(code, tmp_path) == [5, 10]
    assert run(code.replace("exe.run(new)\n", WATCHED), tmp_path) == [5, 10]


CROSS_VALIDATION = "Cross-validation: several programs in one process"


@pytest.mark.campaign
def test_cross_validation(tmp_path):
    """The page's program: folds differ, SGD and Adam differ, and the same setting gives the same figures again."""
    (code,) = blocks(CROSS_VALIDATION)
    found = run(code, tmp_path)
    assert len(set(found)) == 6 and found[:3] == found[6:]


ONE_EXECUTOR = """
import paddle
from paddle import static

paddle.enable_static()
exe = static.Executor(paddle.CPUPlace())
kept = []
for optimizer in (paddle.optimizer.Adam, paddle.optimizer.SGD, paddle.optimizer.Adam):
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        optimizer(0.1).minimize(paddle.nn.Linear(12, 32)(static.data("x", [-1, 12], "float32")).mean())
    exe.run(startup)
    kept.append((main, startup))
print(3)
"""


@pytest.mark.campaign
@pytest.mark.parametrize("cure", ["executor", "scope", *(["none"] if PADDLE_2 else [])])
def test_several_programs_without_ppema(cure, tmp_path):
    """On Paddle 3 "none" ends in one of several errors. The test shows that either remedy is enough."""
    new = {
        "none": "exe.run(startup)",
        "executor": "exe = static.Executor(paddle.CPUPlace())\n    exe.run(startup)",
        "scope": "with static.scope_guard(static.Scope()):\n        exe.run(startup)",
    }
    assert run(ONE_EXECUTOR.replace("exe.run(startup)", new[cure]), tmp_path) == [3]


@pytest.mark.skipif(PADDLE_2, reason="on Paddle 2.6 the old lines work")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("old", "error"), [row[:2] for row in rows("What Paddle 3 says, and what to write")])
def test_what_paddle_3_says(old, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main, startup, exe = static.Program(), static.Program(), static.Executor(paddle.CPUPlace())
    with static.scope_guard(static.Scope()), static.program_guard(main, startup), paddle.utils.unique_name.guard():
        x = static.data("x", [-1, 1, 6, 6], "float32")
        loss = paddle.nn.Linear(6, 1)(x).mean()
        exe.run(startup)
        known = {"paddle": paddle, "static": static, "exe": exe, "main": main, "loss": loss, "x": x}
        known["feed"] = {"x": np.ones((1, 1, 6, 6), "float32")}
        usual, _, of_3_0 = error.partition("; ")
        if of_3_0 and paddle.__version__.startswith("3.0."):
            usual = of_3_0.removesuffix(" on 3.0")
        with pytest.raises(getattr(builtins, usual)):
            eval(old.strip("`"), known)


@pytest.mark.parametrize("kind", ["fc", "named", "linear"])
def test_names_in_a_second_program(kind):
    """On Paddle 3 only, `static.nn.fc` keeps counting where unique_name.guard() starts from 0."""

    def names():
        main = static.Program()
        with static.program_guard(main, static.Program()), paddle.utils.unique_name.guard():
            x = static.data("x", [-1, 5], "float32")
            if kind == "linear":
                paddle.nn.Linear(5, 3)(x)
            else:
                static.nn.fc(x, 3, **({"weight_attr": "fc_0.w_0", "bias_attr": "fc_0.b_0"} if kind == "named" else {}))
        return sorted(each.name for each in main.global_block().all_parameters())

    assert (names() == names()) is (kind != "fc" or PADDLE_2)


@pytest.mark.skipif(PADDLE_2, reason="on Paddle 2.6 both programs have the same names")
def test_a_second_program_that_nobody_trains_is_refused():
    (main, startup), (second, _) = ((static.Program(), static.Program()) for _ in range(2))
    exe = static.Executor(paddle.CPUPlace())
    with static.scope_guard(static.Scope()):
        with static.program_guard(main, startup), paddle.utils.unique_name.guard():
            loss = static.nn.fc(static.data("x", [-1, 5], "float32"), 3).mean()
            paddle.optimizer.SGD(0.1).minimize(loss)
            ema = ppema.ExponentialMovingAverage(0.9)
            ema.update()
        with static.program_guard(second, startup), paddle.utils.unique_name.guard():
            static.nn.fc(static.data("x", [-1, 5], "float32"), 3)
        exe.run(startup)
        exe.run(main, feed={"x": np.ones((2, 5), "float32")})
        with pytest.raises(AverageError, match=r"fc_\d+\.\w_0"), ema.apply(exe, programs=[second]):
            pass


@pytest.mark.parametrize("freeze", ["trainable", "stop_gradient"])
def test_what_freezes_a_parameter(freeze):
    """On Paddle 3, outside ppema, `trainable = False` does not freeze it."""
    main, startup, exe = static.Program(), static.Program(), static.Executor(paddle.CPUPlace())
    with static.scope_guard(static.Scope()), static.program_guard(main, startup), paddle.utils.unique_name.guard():
        layers = [paddle.nn.Linear(5, 3), paddle.nn.Linear(3, 1)]
        loss = paddle.nn.Sequential(*layers)(static.data("x", [-1, 5], "float32")).mean()
        setattr(layers[0].weight, freeze, freeze == "stop_gradient")
        paddle.optimizer.SGD(1.0).minimize(loss)
        exe.run(startup)
        before = scope.get(static.global_scope(), "linear_0.w_0")
        exe.run(main, feed={"x": np.ones((2, 5), "float32")})
        unchanged = np.array_equal(before, scope.get(static.global_scope(), "linear_0.w_0"))
    assert unchanged is (freeze == "stop_gradient" or PADDLE_2)


def test_what_a_file_of_paddle_2_needs(tmp_path, built, here):
    """ "Saving and loading": loading by name works, averages included; so does static.load of a file that 3.3 saved."""
    built.minimize()
    with built.guard():
        ema = ppema.ExponentialMovingAverage(0.9)
        ema.update()
    built.start()
    built.steps(3)
    prefix = str(tmp_path / "model")
    static.save(built.main, prefix)
    saved = ppema.read_state(built.main)
    (load,) = blocks("Saving and loading", " skip")
    for code in (load.replace("old/model", prefix), f"static.load(main, {prefix!r}, exe)"):
        built.steps(2)
        assert any(not np.array_equal(saved[name], value) for name, value in ppema.read_state(built.main).items())
        exec(code, {"static": static, "main": built.main, "exe": built.executor})
        found = ppema.read_state(built.main)
        assert found.keys() == saved.keys() and all(np.array_equal(saved[name], value) for name, value in found.items())
