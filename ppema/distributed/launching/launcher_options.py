"""The options of Paddle's launcher, checked before it starts: it answers many of them with a traceback, or not at all."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import closing

from ppema.errors import PpemaError
from ppema.user_code.names import did_you_mean

EXAMPLE = "--nproc_per_node 2 tools/train.py -c CONFIG"

# Of a name that it does not know, Paddle's launcher starts another launcher, which knows few of the others. Those of parameter
# servers and of its tuner are left out.
_OPTIONS = (
    *("master", "rank", "nnodes", "nproc_per_node", "devices", "gpus", "npus", "xpus", "host", "ips", "start_port", "sort_ip"),
    *("log_dir", "log_level", "log_overwrite", "enable_gpu_log", "run_mode", "job_id"),
    *("max_restart", "elastic_level", "elastic_timeout"),
)
_ETCD = "etcd://"
_ANSWERED = 10.0  # seconds


def launcher_options(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options of the launcher among its arguments, by name, each with one value; and the script with its arguments.

    Raises PpemaError for a missing script, and for values that the launcher takes for others, or can not take.
    """
    found, rest = {}, list(arguments)
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name.removeprefix("--") not in _OPTIONS:
            raise PpemaError(f"{name}: unknown option of Paddle's launcher{did_you_mean(name.lstrip('-'), _OPTIONS)}")
        found[name.removeprefix("--")] = value if equals or not rest else rest.pop(0)
    if not rest:
        raise PpemaError(f"a script or a command is missing after the options of Paddle's launcher: -- {EXAMPLE}")
    _check(found)
    return found, rest


def check_script(name: str) -> None:
    """Raise PpemaError if there is no script `name`, or no command of that name."""
    if name.endswith(".py"):
        if not os.path.isfile(name):
            raise PpemaError(f"{name}: there is no such file")
    elif shutil.which(name) is None:
        raise PpemaError(f"{name}: there is no such command")


def check_master(options: dict[str, str]) -> None:
    """Raise PpemaError if another program has the port of `--master`: Paddle's launcher would wait for it without an end."""
    address = options.get("master", _ETCD)
    if machines(options) == "1" or address.startswith(_ETCD):
        return
    try:
        with closing(http.client.HTTPConnection(address, timeout=_ANSWERED)) as connection:
            connection.connect()
            try:
                connection.request("GET", "/healthy")
                found = json.loads(connection.getresponse().read())
            except (OSError, http.client.HTTPException, ValueError):
                found = None
    except OSError:  # nobody is there yet: this launcher serves it, or that of the first machine will
        return
    if found != {"/healthy": "ok"}:
        raise PpemaError(f"--master {address}: another program uses this port: choose a free one, the same on all machines")


def machines(options: dict[str, str]) -> str:
    """The number of machines, or the least and the greatest one."""
    return options.get("nnodes", "1")


def _check(options: dict[str, str]) -> None:
    if not re.fullmatch(r"0*[1-9]\d*(:0*[1-9]\d*)?", machines(options)):
        raise PpemaError(f"--nnodes: expected a number of machines >= 1, got {machines(options)!r}")
    processes = options.get("nproc_per_node", "1")
    if not re.fullmatch(r"0*[1-9]\d*", processes):
        raise PpemaError(f"--nproc_per_node: expected a number of processes >= 1, got {processes!r}")
    if machines(options) != "1" and "master" not in options:
        raise PpemaError("--nnodes needs --master ADDRESS:PORT, of the first machine and the same on all of them")
    address = options.get("master", "")
    if "master" in options and not address.startswith(_ETCD) and not _is_address(address):
        raise PpemaError(f"--master: expected ADDRESS:PORT, such as 10.0.0.1:8765, got {address!r}")


def _is_address(text: str) -> bool:
    """Whether `text` is HOST:PORT, with a host that a resolver takes, and a port from 1 to 65535."""
    found = re.fullmatch(r"([^:/\s\x00-\x1f\x7f]+):([0-9]{1,5})", text)
    try:
        return found is not None and found[1].encode("idna") != b"" and 0 < int(found[2]) <= 65535
    except UnicodeError:  # an empty part, or one of more than 63 letters
        return False
