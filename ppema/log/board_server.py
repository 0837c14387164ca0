"""Opens VisualDL's page on runs: a folder of links with good names, and a server in a child process."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ppema.errors import PpemaError, SetupError
from ppema.log.run_board import drawn, files_of

_PAGE = "/app/scalar"
_REFRESH_SECONDS = 3.0
_START_SECONDS = 60.0


class BoardServer:
    """A running server of VisualDL. address: the URL of the page of curves; runs: the names of the runs that it shows."""

    def __init__(self, look: Callable[[], Mapping[str, Path]], folder: Path, host: str, port: int):
        self._look, self._folder = look, folder
        self._links: dict[Path, Path] = {}
        self.runs = self._refresh()
        if not self.runs:
            raise PpemaError("VisualDL has nothing to show: none of the runs has logged a figure yet")
        order = [str(link.parent.relative_to(folder)) for link in self._links]
        with (folder / "server.log").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _program(str(folder), host, port, order)],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
            )
        self._host, self._port = host, port
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}{_PAGE}"

    def wait_until_ready(self) -> None:
        """Raises SetupError if the server ends, or does not answer within a minute."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/alive")
                if connection.getresponse().status == 204:
                    return
            connection.close()
            time.sleep(0.1)
        said = (self._folder / "server.log").read_text(errors="replace").splitlines()
        why = "it does not answer" if self._process.returncode is None else "it has ended"
        last = next((f": {line}" for line in reversed(said) if line.strip()), "")
        raise SetupError(f"VisualDL's server could not be started: {why}{last}")

    def wait(self) -> None:
        """Wait until the server ends. Runs that begin in the meantime, such as the trials of a sweep, are added."""
        while self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_REFRESH_SECONDS)
            self._refresh()

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.communicate()

    def _refresh(self) -> tuple[str, ...]:
        """Link the newest VisualDL files of all runs into the folder. Returns the names of the runs that have any."""
        shown, links = [], dict[Path, Path]()
        for name, run in self._look().items():
            found = {file.parent: file for file in sorted(files_of(run / "vdl"), key=lambda each: each.name)}
            # Curves take their colours in this order.
            for folder in sorted(found, key=lambda each: _rank(each.name)):
                to = self._folder / name if folder == run / "vdl" else self._folder / name / folder.name
                links[to / found[folder].name] = found[folder]
            shown += [name] if drawn(run / "vdl") else []
        for link, file in links.items():
            if link not in self._links:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
                self._links[link] = file
        for link in self._links:
            if link.is_symlink() and not link.exists():
                # A resumed run has replaced the file. VisualDL fails if one that it knows is missing.
                link.unlink()
                link.touch()
        return tuple(shown)


def _rank(name: str) -> tuple[bool, bool, str]:
    """The raw weights first, the averages in the order of their names, training last."""
    return name == "train", name != "raw", name


def _program(*arguments: object) -> str:
    """Python code that serves. It imports what this process would, and nothing in its working directory."""
    path = [*sys.path, str(Path(__file__).resolve().parents[2])]
    return f"import sys; sys.path[:] = {path!r}\nfrom ppema.log.board import serve\nserve{arguments!r}"


@contextmanager
def serving(look: Callable[[], Mapping[str, Path]], host: str, port: int | None) -> Iterator[BoardServer]:
    """A server of VisualDL on the runs of `look`, by name; it ends with the block. Names may have several parts, as paths have.

    host: an address of this machine; port: None for a free one. Raises PpemaError for a port that can not be had and for runs
    without a VisualDL file, and SetupError if the server does not start.
    """
    port = _port(host, port)
    folder = Path(tempfile.mkdtemp(prefix="ppema-board-")).resolve()
    try:
        server = BoardServer(look, folder, host, port)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _port(host: str, port: int | None) -> int:
    """`port` if it is free, or any free port for None."""
    if port is not None and not 0 < port < 1 << 16:
        raise PpemaError(f"port {port} can not be used: expected a number from 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            tried.bind(address)
            return tried.getsockname()[1]
    except OSError as error:
        what = f"port {port} of {host}" if port else f"host {host}"
        raise PpemaError(f"{what} can not be used: {error.strerror}: name another one, or none") from error
