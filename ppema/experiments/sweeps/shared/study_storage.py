"""Optuna's storage of a sweep: a journal file in its folder, a database, or a gRPC proxy of one."""

from __future__ import annotations

import re
import socket
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ppema.errors import Naming, PpemaError, SetupError, one_line
from ppema.experiments.sweeps.shared.journal_lock import JournalLock
from ppema.experiments.sweeps.shared.masking import innermost, url_without_password, without_password
from ppema.experiments.sweeps.shared.outage import WatchedStorage
from ppema.experiments.sweeps.sweep_folder import JOURNAL

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

CONNECT_SECONDS = 5
_FORMS = "postgresql+psycopg://user@host/database, sqlite:///file.db or grpc://host:port"
# By the driver's module: the package that has it, where the names differ.
_PACKAGES = {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]", "MySQLdb": "mysqlclient"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
# By driver: arguments of a connection, so that a server that is gone is an error instead of a wait without end.
_LIBPQ = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 30_000}
_ARGUMENTS = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": {"connect_timeout": CONNECT_SECONDS, "read_timeout": 30},
    "pysqlite": {"timeout": 60},  # for its lock
}
_CREATIONS = 5  # attempts to create the tables, which other machines may create at the same time


def open_storage(url: str | None, folder: Path) -> WatchedStorage:
    """The storage at `url`, by default the journal in the sweep's `folder`.

    url: "grpc://host:port", or a URL of SQLAlchemy. Raises SetupError if the storage can not be reached within a few seconds,
    or lacks a package, and PpemaError for anything but a URL. No message has the URL's password.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        return WatchedStorage(_journal(folder / JOURNAL))
    return WatchedStorage(_proxy(url) if url.startswith("grpc:") else _database(url))


def _journal(file: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        return JournalStorage(JournalFileBackend(str(file), lock_obj=JournalLock(file)))  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise SetupError(f"{file}: the sweep's journal can not be opened: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise SetupError(f"{file}: the sweep's journal is damaged: {one_line(error)}") from error


def _proxy(url: str) -> BaseStorage:
    shown = url_without_password(url)
    match = re.fullmatch(r"grpc://(\[[0-9A-Fa-f:.]+\]|[^/:@\s]+):([0-9]{1,5})/?", url)
    if match is None:
        raise PpemaError(Naming("{storage}: expected grpc://host:port, got {!r}", shown))
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            proxy = GrpcStorageProxy(host=match[1], port=int(match[2]))
            proxy.wait_server_ready(CONNECT_SECONDS)
        except ImportError as error:
            raise SetupError(Naming("{storage}: {}: gRPC is not installed: pip install grpcio protobuf", shown)) from error
        except ConnectionError as error:
            raise SetupError(
                Naming("{storage}: {}: no answer within {} seconds: is the proxy running?", shown, CONNECT_SECONDS)
            ) from error
    return proxy


def _database(text: str) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(text)
        driver = url.get_dialect().driver
    except NoSuchModuleError as error:
        name = text.partition(":")[0]
        raise PpemaError(Naming("{storage}: unknown kind of storage {!r}; expected a URL such as {}", name, _FORMS)) from error
    except (ArgumentError, ValueError) as error:
        raise PpemaError(Naming("{storage}: expected a URL such as {}", _FORMS)) from error
    shown = url_without_password(url.render_as_string(hide_password=True))
    _check_driver(url, shown)
    _check_answer(url, shown)
    options = {"pool_pre_ping": True, "connect_args": _ARGUMENTS.get(driver, {})}
    for left in reversed(range(_CREATIONS)):
        try:
            return get_storage(RDBStorage(text, engine_kwargs=options))
        except Exception as error:
            fault = innermost(error)
            # Another machine created the same tables in this moment.
            if not (left and re.search("already exists|duplicate key|UNIQUE constraint", fault, re.IGNORECASE)):
                raise SetupError(Naming("{storage}: {}: it can not be used: {}", shown, without_password(fault))) from error
            time.sleep(0.5)
    raise AssertionError


def _check_driver(url: URL, shown: str) -> None:
    """Raise SetupError if the Python package of the database is not installed."""
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        module = (error.name or "").partition(".")[0] or url.get_driver_name()
        package = _PACKAGES.get(module, module)
        message = "{storage}: {}: the package for this database is not installed: pip install {!r}"
        raise SetupError(Naming(message, shown, package)) from error


def _check_answer(url: URL, shown: str) -> None:
    """Raise SetupError if nothing accepts connections at the host and port of the URL."""
    port = url.port or _PORTS.get(url.get_backend_name())
    if not url.host or port is None:
        return
    try:
        socket.create_connection((url.host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or f"no answer within {CONNECT_SECONDS} seconds"
        raise SetupError(Naming("{storage}: {}: it can not be reached: {}", shown, reason)) from error
