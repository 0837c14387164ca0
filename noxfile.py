"""All tests on each supported Paddle, each in an environment of its own: make test-all."""

import sys
from pathlib import Path

import nox

nox.options.sessions = ["paddle33", "paddle30", "paddle26", "across"]
nox.options.reuse_existing_virtualenvs = True

# Where versions of Paddle 3 differ: the seam, what passes make of programs and averages, and a run from its config to its last
# evaluation.
CORE = ("tests/ir", "tests/passes", "tests/ema", "tests/programs", "tests/test_environment.py")
A_RUN = "tests/cli/test_cli.py::test_train_then_eval_then_show"
# A process for each core. Each begins with tests that follow each other, so that a fixture of a module is made once.
SHARED = ("-n", "auto", "--dist", "worksteal")


def tests(session: nox.Session, requirements: str, *chosen: str) -> None:
    onnx = requirements.replace("requirements", "requirements-onnx")
    files = [requirements, "requirements-dev.txt", *([onnx] if Path(onnx).exists() else [])]
    session.install("--quiet", *(word for file in files for word in ("-r", file)))
    session.run("python", "-m", "pytest", *SHARED, *chosen, *session.posargs)


def skip_where_2_6_has_no_wheel(session: nox.Session) -> None:
    if sys.version_info >= (3, 13):
        session.skip("Paddle 2.6 has no wheel for Python 3.13 and later")


@nox.session
def paddle33(session: nox.Session) -> None:
    """Paddle 3.3, the newest: programs in PIR."""
    tests(session, "requirements.txt")


@nox.session
def paddle30(session: nox.Session) -> None:
    """Paddle 3.0, the oldest with programs in PIR that ppema runs on."""
    tests(session, "requirements-3.0.txt")


@nox.session
def paddle30_core(session: nox.Session) -> None:
    """The same in a few minutes, for continuous integration."""
    tests(session, "requirements-3.0.txt", "-m", "not campaign", *CORE, A_RUN)


@nox.session
def paddle26(session: nox.Session) -> None:
    """Paddle 2.6: programs as ProgramDesc."""
    skip_where_2_6_has_no_wheel(session)
    tests(session, "requirements-2.6.txt")


@nox.session(venv_backend="none")
@nox.parametrize("other", ["paddle26", "paddle30"], ids=["26", "30"])
def across(session: nox.Session, other: str) -> None:
    """A checkpoint of 3.3 on another Paddle and the other way round, in the environments of the sessions before.

    Without the session for 3.3, its side is the environment of nox itself, which `make test` has made.
    """
    if other == "paddle26":
        skip_where_2_6_has_no_wheel(session)
    ours, theirs = (Path(session.cache_dir).resolve().parent / name / "bin/python" for name in ("paddle33", other))
    python = str(ours) if ours.exists() else sys.executable
    environment = {"PPEMA_OTHER_PYTHON": str(theirs)}
    session.run(python, "-m", "pytest", *SHARED, "tests/test_across_versions.py", env=environment, external=True)
