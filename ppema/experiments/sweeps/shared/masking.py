"""Texts about a storage, without the secrets of its URL."""

from __future__ import annotations

import re

_SECRET = r"[^\s?&;=]*(?:pass|pwd|secret|token)[^\s?&;=]*="


def without_password(text: str) -> str:
    """`text` with *** for the password of each URL in it, and for values of keys such as sslpassword, passfile and token."""
    # A password may have a "/", a ":" or an "@" in it: it ends with the last "@" of the word.
    return _masked(text, r"\S*@", r"[^\s&;'\"]*")


def url_without_password(url: str) -> str:
    """As `without_password`, for a single URL, in whose secrets there may be spaces and quotes."""
    return _masked(url, r".*@", r"[^&;]*")


def _masked(text: str, password: str, value: str) -> str:
    text = re.sub(rf"(\w://[^\s:@/]*):{password}", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(rf"({_SECRET}){value}", r"\1***", text, flags=re.IGNORECASE)


def innermost(error: BaseException) -> str:
    """The message of the driver, on one line, which SQLAlchemy and Optuna wrap."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(getattr(error, "orig", None) or error).split())
