"""All tests on each supported Paddle, each in an environment of its own: make test-all."""

import sys
from pathlib import Path

import nox

nox.options.sessions = ["paddle33", "paddle26", "across"]
nox.options.reuse_existing_virtualenvs = True


def tests(session: nox.Session, requirements: str) -> None:
    session.install("--quiet", "-r", requirements, "-r", "requirements-dev.txt")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


def skip_where_2_6_has_no_wheel(session: nox.Session) -> None:
    if sys.version_info >= (3, 13):
        session.skip("Paddle 2.6 has no wheel for Python 3.13 and later")


@nox.session
def paddle33(session: nox.Session) -> None:
    """Paddle 3.3: programs in PIR."""
    tests(session, "requirements.txt")


@nox.session
def paddle26(session: nox.Session) -> None:
    """Paddle 2.6: programs as ProgramDesc."""
    skip_where_2_6_has_no_wheel(session)
    tests(session, "requirements-2.6.txt")


@nox.session(venv_backend="none")
def across(session: nox.Session) -> None:
    """A checkpoint of each on the other, in the environments of the two sessions before."""
    skip_where_2_6_has_no_wheel(session)
    ours, theirs = (str(Path(session.cache_dir).resolve().parent / name / "bin/python") for name in ("paddle33", "paddle26"))
    environment = {"PPEMA_OTHER_PYTHON": theirs}
    session.run(ours, "-m", "pytest", "tests/test_across_versions.py", env=environment, external=True)
