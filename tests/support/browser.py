"""Headless Chromium, driven by Debian's chromedriver through the WebDriver protocol, which is JSON over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


class Browser:
    """One page. The URL of the browser's own session at chromedriver is `session`."""

    def __init__(self, session: str):
        self._session = session

    def open(self, url: str) -> None:
        """Load `url`, which may be a file://, and wait for the page's load event."""
        _call("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that `script`, the body of an async function of `arguments`, returns. It must be JSON."""
        body = f"const done = arguments[arguments.length - 1]; (async function() {{ {script} }})"
        body += ".apply(null, [...arguments].slice(0, -1)).then(each => done([each]), error => done('' + error))"
        value = _call("POST", f"{self._session}/execute/async", {"script": body, "args": list(arguments)})
        assert isinstance(value, list), value
        return value[0]

    def messages(self) -> list[str]:
        """The errors and warnings of the page in the console, since the last call."""
        return [each["message"] for each in _call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def screenshot(self, file: Path) -> None:
        """Write the visible part of the page to `file` as PNG."""
        file.write_bytes(b64decode(_call("GET", f"{self._session}/screenshot")))


@contextmanager
def browser(profile: Path, width: int = 1280, height: int = 900) -> Iterator[Browser]:
    """A new browser with its profile in the new folder `profile`. Skips the test where Chromium is not installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with chromedriver: on Debian, apt-get install chromium-driver")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "started successfully on port" in line)
        root = f"http://127.0.0.1:{said.rpartition('port ')[2].strip().rstrip('.')}"
        flags = [*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={profile}"]
        options = {"goog:chromeOptions": {"binary": chromium, "args": flags}, "timeouts": {"script": 60_000}}
        session = f"{root}/session/{_call('POST', f'{root}/session', {'capabilities': {'alwaysMatch': options}})['sessionId']}"
        try:
            yield Browser(session)
        finally:
            _call("DELETE", session)
    finally:
        process.terminate()
        process.wait(30)


def _call(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # A proxy of the environment must not see calls to loopback.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
        return json.load(answer)["value"]
