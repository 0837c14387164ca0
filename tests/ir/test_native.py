"""The C++ operations against numpy in float64, and their absence where they cannot be built."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppema.averaging.decay import FLOATS, Constant, HalfLife, InverseGamma, PowerFunction
from ppema.averaging.precision import compensated
from ppema.averaging.rule import Rule
from ppema.errors import SetupError
from ppema.ir import backend, native, scope
from ppema.ir.native import why_missing
from ppema.passes.ema import UpdatePass, declare
from ppema.passes.target import TrainProgram

built = pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")
# Enough elements for several threads, and sizes that are not multiples of a block.
SHAPES = {"a": [7, 4099], "b": [], "c": [3], "d": [257, 129, 3]}


class Moving:
    """A program that only updates averages, of variables that a test sets."""

    def __init__(self, dtypes=("float32", "float32", "float64", "float32"), **covers):
        main, startup = paddle.static.Program(), paddle.static.Program()
        self.dtypes = dict(zip(SHAPES, dtypes, strict=True))
        with paddle.utils.unique_name.guard(), paddle.static.program_guard(main, startup):
            for name, shape in SHAPES.items():
                paddle.static.create_parameter(shape, self.dtypes[name], name=name)
            parameters = {each.name: each for each in backend().parameters(main)}
            target = TrainProgram(main, startup)
            for average, (names, rule) in covers.items():
                declare(target, average, rule, [parameters[name] for name in names])
            UpdatePass().apply(target)
        self.main, self.averages = main, target.averages
        self.scope, self._executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(self.scope):
            self._executor.run(startup)

    def step(self, rng) -> dict[str, np.ndarray]:
        values = {name: rng.normal(size=shape).astype(self.dtypes[name]) for name, shape in SHAPES.items()}
        scope.put(self.scope, values)
        with paddle.static.scope_guard(self.scope):
            self._executor.run(self.main)
        return values

    def shadow(self, average: str, name: str) -> np.ndarray:
        return scope.get(self.scope, self.averages[average].shadow_of[name])


@built
def test_several_averages_of_different_weights_are_one_operation():
    rules = {
        "all": (list(SHAPES), Rule(InverseGamma(0.99))),
        "few": (["d", "b"], Rule(HalfLife(3.0), start=4, update_every=2)),
        "last": (["c", "a"], Rule(PowerFunction(3.0))),
    }
    moving, rng, seen = Moving(**rules), np.random.default_rng(0), []
    kinds = [op.kind.rstrip("_") for op in backend().operations(moving.main)]
    assert kinds.count("ppema_average") == 1 and "sgd" not in kinds
    for _ in range(11):
        seen.append(moving.step(rng))
        for average, (names, rule) in rules.items():
            for name in names:
                expected = by_definition(rule, [values[name].astype("float64") for values in seen])
                got = moving.shadow(average, name)
                assert got.dtype == moving.dtypes[name]
                bound = 1e-12 if got.dtype == np.float64 else 1e-6
                assert np.linalg.norm(got - expected) <= bound * np.linalg.norm(expected), (average, name, len(seen))


def by_definition(rule, values):
    """The weighted mean of the rule's observations in `values`; before the first, the value at the last update."""
    every = rule.update_every
    taken = [t for t in range(1, len(values) + 1) if t % every == 0 and t >= rule.first]
    if not taken:
        followed = [t for t in range(1, len(values) + 1) if t % every == 0 or t == 1]
        return values[followed[-1] - 1]
    total, weight = 0.0, 0.0
    for t in taken:
        d = rule.schedule(float(t - rule.first), rule.interval, FLOATS)
        total, weight = d * total + (1 - d) * values[t - 1], d * weight + (1 - d)
    return total / weight


@built
def test_a_compensated_average_has_the_bits_of_the_formula():
    moving, rng = Moving(ema=(["a", "c"], Rule(Constant(0.999), precision="compensated"))), np.random.default_rng(1)
    state = {name: (np.zeros(SHAPES[name], moving.dtypes[name]),) * 2 for name in ("a", "c")}
    weight = 0.0
    for _ in range(20):
        values = moving.step(rng)
        weight = 0.999 * weight + (1 - 0.999)
        for name, (shadow, rest) in state.items():
            alpha = np.asarray((1 - 0.999) / weight, moving.dtypes[name])
            state[name] = compensated(shadow, rest, values[name], alpha)
            assert moving.shadow("ema", name).tobytes() == state[name][0].tobytes()


@built
def test_the_first_update_is_the_weights_bit_for_bit():
    moving = Moving(ema=(list(SHAPES), Rule(Constant(0.9))))
    values = moving.step(np.random.default_rng(2))
    for name, value in values.items():
        assert moving.shadow("ema", name).tobytes() == value.tobytes()


EXTREMES = {
    "float32": (3.4e38, -1e-45, 0.0),
    "float64": (1.7e308, -5e-324, 0.0),
    "float16": (65504.0, -6e-8, 0.0),
}


@built
@pytest.mark.parametrize("dtype", EXTREMES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_finite_finds_each_bad_number_and_no_other(dtype, bad):
    rng = np.random.default_rng(3)
    arrays = [np.full(shape, 1, dtype) for shape in ([33, 5003], [], [7])]
    for array in arrays:
        array.reshape(-1)[: len(EXTREMES[dtype])] = EXTREMES[dtype][: array.size]
    main = paddle.static.Program()
    with paddle.static.program_guard(main):
        fed = [paddle.static.data(f"x{index}", list(array.shape), dtype) for index, array in enumerate(arrays)]
        results = {"each": ([len(fed)], "bool"), "every": ([], "bool")}
        each, every = backend().append_native_op("ppema_finite", {"values": fed}, results)
    executor = paddle.static.Executor(paddle.CPUPlace())

    def check() -> tuple[list[bool], bool]:
        flags, flag = executor.run(main, {f"x{i}": array for i, array in enumerate(arrays)}, [each, every])
        return flags.tolist(), bool(flag)

    assert check() == ([True, True, True], True)
    for index, array in enumerate(arrays):
        place = rng.integers(array.size)
        kept, array.reshape(-1)[place] = array.reshape(-1)[place], bad
        assert check() == ([other != index for other in range(3)], False)
        array.reshape(-1)[place] = kept


def say(home: Path, **environment: str) -> subprocess.CompletedProcess:
    """A new process that needs the operations. The last line of its stdout is the result of `why_missing`."""
    code = (
        "from ppema.environment import load_paddle; load_paddle(); "
        "from ppema.ir.native import why_missing; why_missing(); print(why_missing())"
    )
    root = Path(__file__).parents[2]
    clean = {key: value for key, value in os.environ.items() if key not in ("XDG_CACHE_HOME", "CXX", "PPEMA_NATIVE")}
    variables = clean | {"HOME": str(home), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run([sys.executable, "-c", code], cwd=root, env=variables, capture_output=True, text=True, timeout=300)


def lines(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("ppema: ")]


@built
@pytest.mark.parametrize("name", ["a", "a.all"])
@pytest.mark.parametrize("other", [np.zeros([7, 4099], "float64"), np.zeros([7], "float32")])
def test_tensors_of_another_form_are_refused(name, other):
    """A variable that a user set to a tensor of another form is refused, and its memory is not read as the declared type."""
    moving = Moving(all=(list(SHAPES), Rule(Constant(0.9))))
    rng = np.random.default_rng(0)
    moving.step(rng)
    scope.tensor(moving.scope, name).set(other, paddle.CPUPlace())
    with pytest.raises(Exception, match="a weight and its average differ in type or size: one of them was set to another"):
        with paddle.static.scope_guard(moving.scope):
            moving._executor.run(moving.main)


@pytest.mark.campaign
@built
def test_they_are_built_once_and_said_so(tmp_path):
    left = tmp_path / ".cache/ppema/building-killed"
    left.mkdir(parents=True)
    (left / "native.so").touch()
    os.utime(left, (0, 0))
    first = say(tmp_path)
    # The temporary folder of the killed build is gone too.
    (library,) = (tmp_path / ".cache/ppema").iterdir()
    (line,) = lines(first)
    assert line.startswith(f"ppema: built its C++ operations for Paddle {paddle.__version__} in ")
    assert line.endswith(f" s, once: {library}")
    assert lines(say(tmp_path)) == []
    whole = library.read_bytes()
    library.write_bytes(whole[:1000])
    # A damaged library, which would end the process, is built again.
    assert lines(say(tmp_path))
    assert library.read_bytes()[:1000] == whole[:1000]


# The first build never ends. The others are real and are counted.
COMPILER = """#!/bin/sh
case "$*" in *--version) exec g++ "$@";; esac
if mkdir {folder}/first 2>/dev/null; then echo $$ > {folder}/hangs; exec sleep 600; fi
echo >> {folder}/compiled
exec g++ "$@"
"""


@pytest.mark.campaign
@built
def test_one_process_builds_while_others_wait_and_a_killed_one_blocks_none(tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER.format(folder=tmp_path))
    compiler.chmod(0o700)
    with ThreadPoolExecutor(3) as pool:
        killed = pool.submit(say, tmp_path, CXX=str(compiler))
        hangs = tmp_path / "hangs"
        while not hangs.exists() or not hangs.read_text():
            assert not killed.done(), killed.result().stderr
            time.sleep(0.05)
        # The builder is killed while its compiler still runs.
        child = int(hangs.read_text())
        try:
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(parent, signal.SIGKILL)
            both = [each.result() for each in [pool.submit(say, tmp_path, CXX=str(compiler)) for _ in range(2)]]
        finally:
            os.kill(child, signal.SIGKILL)
    assert killed.result().returncode == -signal.SIGKILL
    assert (tmp_path / "compiled").read_text() == "\n"
    assert [done.stdout.splitlines()[-1] for done in both] == ["None", "None"]
    said = sorted(line.split(" for ")[0] for done in both for line in lines(done))
    assert said[0] == "ppema: built its C++ operations"
    assert said[1:] in ([], ["ppema: waiting"])


def test_a_lock_is_not_waited_for_without_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(native, "COMPILE_SECONDS", 0.2)
    monkeypatch.setattr(native, "POLL_SECONDS", 0.05)
    with native._alone(tmp_path), native._alone(tmp_path):
        assert capsys.readouterr().err == "ppema: waiting for another process, which builds its C++ operations\n"
    with native._alone(tmp_path):
        assert capsys.readouterr().err == ""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.campaign
@built
def test_nobody_else_can_write_where_they_are_kept(tmp_path):
    cache = tmp_path / ".cache/ppema"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert len(lines(say(tmp_path))) == 1
    (library,) = cache.iterdir()
    assert mode(cache) == 0o700 and mode(library) == 0o700
    # Anybody who could write to it may have put other content there, under a name with the right checksum.
    library.chmod(0o770)
    assert len(lines(say(tmp_path))) == 1
    assert mode(library) == 0o700 and list(cache.iterdir()) == [library]
    assert lines(say(tmp_path)) == []


@pytest.fixture
def another_user(monkeypatch):
    """Makes this process belong to another user than the owner of its files."""
    monkeypatch.setattr(native.os, "geteuid", lambda: os.getuid() + 1)
    return "belongs to another user (number " + str(os.getuid()) + "), and is not used: "


def test_another_users_folder_is_refused(tmp_path, another_user):
    tmp_path.chmod(0o755)
    with pytest.raises(SetupError) as caught:
        native._make_private(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} {another_user}")
    assert mode(tmp_path) == 0o755


def test_another_users_library_is_refused(tmp_path, another_user):
    (tmp_path / "made").write_bytes(b"\x7fELF")
    library = tmp_path / native._name("key", tmp_path / "made")
    (tmp_path / "made").rename(library)
    with pytest.raises(SetupError) as caught:
        native._kept(tmp_path, "key")
    assert str(caught.value).startswith(f"{library} {another_user}")


@pytest.mark.campaign
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_with_another_users_library_one_line_says_why_there_are_none(tmp_path, what):
    cache = tmp_path / ".cache/ppema"
    say(tmp_path)
    (library,) = cache.iterdir()
    os.chown(given := cache if what == "folder" else library, 12345, 12345)
    done = say(tmp_path)
    (line,) = lines(done)
    advice = "remove it, or set XDG_CACHE_HOME to a folder of your own"
    why = f"{given} belongs to another user (number 12345), and is not used: {advice}"
    assert line == f"ppema: without its C++ operations, averages are updated by Paddle's, which are slower: {why}"
    assert done.stdout.splitlines()[-1] == why
    assert list(cache.iterdir()) == [library]


@built
def test_a_link_in_place_of_a_library_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"\x7fELF")
    (tmp_path / native._name("key", tmp_path / "elsewhere")).symlink_to(tmp_path / "elsewhere")
    assert native._kept(tmp_path, "key") is None


@pytest.mark.campaign
@built
def test_where_nothing_can_be_kept_they_are_built_for_the_process(tmp_path):
    (tmp_path / "file").touch()
    done = say(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    (line,) = lines(done)
    assert done.stdout.splitlines()[-1] == "None" and " s, for this process alone: " in line
    assert line.endswith(f"[Errno 20] Not a directory: '{tmp_path / 'file' / 'ppema'}'")
    assert list(tmp_path.rglob("native*")) == []


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(native.os, "getuid", lambda: 2**31 - 2)
    with pytest.raises(OSError, match="home"):
        native._cache()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "/no/such/compiler"}, "/no/such/compiler can not be run: FileNotFoundError"),
        ({"CXX": "false"}, "false failed: it said nothing"),
        ({"CXX": "sh -c 'exit 1'"}, "sh failed: it said nothing"),
        ({"CXX": "g++ '"}, "CXX=g++ ': No closing quotation"),
        ({"PATH": "/nowhere"}, "there is no C++ compiler (g++)"),
    ],
)
def test_without_a_compiler_one_line_says_so(tmp_path, environment, reason):
    done = say(tmp_path, **environment)
    (line,) = lines(done)
    expected = f"ppema: without its C++ operations, averages are updated by Paddle's, which are slower: {reason}"
    assert line.startswith(expected)
    assert done.stdout.splitlines()[-1].startswith(reason)


def test_they_can_be_turned_off(tmp_path):
    done = say(tmp_path, PPEMA_NATIVE="0")
    assert lines(done) == [] and done.stdout.splitlines()[-1] == "PPEMA_NATIVE=0"
