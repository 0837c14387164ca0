"""The processes of a trial: trainings, and searches of a length. They do not outlive the sweep that started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ppema
from ppema.errors import TrainingError
from ppema.experiments.sweeps import orphans
from ppema.experiments.sweeps.search.best_length import SEARCHED
from ppema.experiments.sweeps.sweep_folder import PROCESS_LOG

_LOG_END = 20_000  # bytes of process.log that are searched for the reason of a failure
# In a message: the type of an error that other code raised, and the line of the user's code that raised it.
_RAISED, _PLACE = re.compile(r"(?:^|: )([A-Z]\w*): "), re.compile(r" \(\S+:\d+\)$")
_MISSING = ("FileNotFoundError", "IsADirectoryError", "NotADirectoryError", "PermissionError", "ModuleNotFoundError")


def ppema_command(name: str) -> list[str]:
    """The words before the arguments of the command `name` of ppema, with this process's Python and import path."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(ppema.__file__)))
    code = (
        f"import sys; sys.path.insert(0, {root!r}); import ppema; sys.path[:] = {sys.path!r}; "
        # The command then calls itself ppema in its messages.
        "del sys.orig_argv[1:]; from ppema.cli.main import main; sys.exit(main(sys.argv[1:], 'ppema'))"
    )
    return [sys.executable, "-c", code, name]


def training(launcher: Sequence[str], config: str, overrides: Sequence[str]) -> list[str]:
    """The command line that trains `config` with `overrides`. launcher: the words before them."""
    return [*launcher, "-c", config, *(word for each in overrides for word in ("-o", each))]


def length_search(config: str, overrides: Sequence[str], metric: str) -> list[str]:
    """The command line that searches the best length of an average of the run of `config` with `overrides`, by `metric`."""
    search = ["--search", "grid", "--name", SEARCHED, "--metric", metric]
    return [*training(ppema_command("average"), config, overrides), *search]


class TrialProcess:
    """A running process. Its output goes to the end of process.log in the run's folder `output`."""

    def __init__(self, command: Sequence[str], output: Path, lock: int):
        """Start `command`. lock: a handle that the process inherits. Raises TrainingError."""
        self._log = output / PROCESS_LOG
        try:
            output.mkdir(parents=True, exist_ok=True)
            with open(self._log, "ab") as log:
                self._begin = log.tell()
                # Ctrl-C in a terminal reaches its whole session; a training must get one signal, to save and end.
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", orphans.__file__, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    start_new_session=True,
                )
        except OSError as error:
            raise TrainingError(f"{output}: the run can not be started: {error.strerror}") from error

    def ended(self) -> int | None:
        """The exit code, -N after signal N; None while the process runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Let the process save and end."""
        self._process.send_signal(signal.SIGTERM)

    def last_line(self) -> str:
        """The last line of the process's output that is not empty; "" without one."""
        try:
            with open(self._log, "rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._begin, size - _LOG_END))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def is_crash(reason: str) -> bool:
    """Whether a training refused its input because the model, or other code of the config, raised an error."""
    found = _RAISED.search(reason)
    if found is None or found[1] in _MISSING or "importing '" in reason[: found.start()]:
        return False
    return found[1].endswith(("Error", "Exception")) or _PLACE.search(reason) is not None


def of_sweep(message: str, params: Mapping[str, Any]) -> str:
    """The message of a training about its overrides, with --over for those of the sweep."""
    for key in params:
        message = message.replace(f"-o {key}:", f"--over {key}:")
    return message
