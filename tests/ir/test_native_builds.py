"""Without a wheel that carries them, the C++ operations are built once and kept for this user alone, or are absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paddle
import pytest

from ppema.errors import SetupError
from ppema.ir import native
from ppema.ir.native import library, user_cache, why_missing
from ppema.ir.native.compiler import find_compiler

built = pytest.mark.skipif(why_missing() is not None, reason=f"there are no C++ operations: {why_missing()}")


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


# The first command to compile never ends. The others are real, and their results are counted.
COMPILER = """#!/bin/sh
if mkdir {folder}/first 2>/dev/null; then echo $$ > {folder}/hangs; exec sleep 600; fi
case "$*" in *-shared*) echo >> {folder}/linked;; esac
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
    assert (tmp_path / "linked").read_text() == "\n"
    assert [done.stdout.splitlines()[-1] for done in both] == ["None", "None"]
    said = sorted(line.split(" for ")[0] for done in both for line in lines(done))
    assert said[0] == "ppema: built its C++ operations"
    assert said[1:] in ([], ["ppema: waiting"])


def test_a_lock_is_not_waited_for_without_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(user_cache, "COMPILE_SECONDS", 0.2)
    monkeypatch.setattr(user_cache, "POLL_SECONDS", 0.05)
    with user_cache._alone(tmp_path), user_cache._alone(tmp_path):
        assert capsys.readouterr().err == "ppema: waiting for another process, which builds its C++ operations\n"
    with user_cache._alone(tmp_path):
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
    monkeypatch.setattr(user_cache.os, "geteuid", lambda: os.getuid() + 1)
    return "belongs to another user (number " + str(os.getuid()) + "), and is not used: "


def test_another_users_folder_is_refused(tmp_path, another_user):
    tmp_path.chmod(0o755)
    with pytest.raises(SetupError) as caught:
        user_cache._make_private(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} {another_user}")
    assert mode(tmp_path) == 0o755


def test_another_users_library_is_refused(tmp_path, another_user):
    (tmp_path / "made").write_bytes(b"\x7fELF")
    kept = tmp_path / library.name("key", tmp_path / "made")
    (tmp_path / "made").rename(kept)
    with pytest.raises(SetupError) as caught:
        user_cache._kept(tmp_path, "key")
    assert str(caught.value).startswith(f"{kept} {another_user}")


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
    assert line == f"ppema: without its C++ operations, optimizers, averages and layers use Paddle's, which are slower: {why}"
    assert done.stdout.splitlines()[-1] == why
    assert list(cache.iterdir()) == [library]


@built
def test_a_link_in_place_of_a_library_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"\x7fELF")
    (tmp_path / library.name("key", tmp_path / "elsewhere")).symlink_to(tmp_path / "elsewhere")
    assert user_cache._kept(tmp_path, "key") is None


@pytest.mark.campaign
@built
def test_where_nothing_can_be_kept_they_are_built_for_the_process(tmp_path):
    (tmp_path / "file").touch()
    done = say(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    (line,) = lines(done)
    assert done.stdout.splitlines()[-1] == "None" and " s, for this process alone: " in line
    assert line.endswith(f"[Errno 20] Not a directory: '{tmp_path / 'file' / 'ppema'}'")
    assert list(tmp_path.rglob("native*")) == []


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """`why_missing` in an empty home and in a checkout, as the first call of a process."""
    for name in ("XDG_CACHE_HOME", "CXX", "PPEMA_NATIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return lambda: native._found.__wrapped__().missing


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(user_cache.os, "getuid", lambda: 2**31 - 2)
    with pytest.raises(OSError, match="home"):
        user_cache._cache()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "/no/such/compiler"}, "/no/such/compiler can not be run: there is no program /no/such/compiler"),
        ({"CXX": "false"}, "false failed: without output"),
        ({"CXX": "sh -c 'exit 1'"}, "sh failed: without output"),
        ({"CXX": "g++ '"}, "CXX=g++ ': No closing quotation"),
        ({"PATH": "/nowhere"}, "there is no C++ compiler (g++)"),
    ],
)
def test_without_a_compiler_one_line_says_so(fresh, monkeypatch, capfd, environment, reason):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert fresh().startswith(reason)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"ppema: without its C++ operations, optimizers, averages and layers use Paddle's, which are slower: {reason}"
    )


def test_a_new_program_of_the_compiler_builds_anew(tmp_path, monkeypatch):
    program = tmp_path / "compiler"
    program.write_text("#!/bin/sh")
    program.chmod(0o700)
    monkeypatch.setenv("CXX", f"env {program} -g")
    before = find_compiler().key()
    assert find_compiler().key() == before
    os.utime(program, (0, 0))
    assert find_compiler().key() != before


def test_they_can_be_turned_off(fresh, monkeypatch, capfd):
    monkeypatch.setenv("PPEMA_NATIVE", "0")
    assert fresh() == "PPEMA_NATIVE=0"
    assert capfd.readouterr().err == ""
