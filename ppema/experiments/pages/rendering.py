"""Renders the templates of pages: one HTML text, in which every value is shown as the text it is."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ppema.errors import escaped
from ppema.experiments.pages.run_processes import span
from ppema.log.figure_texts import figure, spread
from ppema.version import VERSION


def render(template: str, **values: Any) -> str:
    """The page of the template of that name, with `values`.

    The page carries its style sheet and its script, and forbids every other source, in its Content-Security-Policy.
    """
    environment = _environment()
    style, script = (_file(name) for name in ("style.css", "script.js"))
    sources = {"style": _sha256(style), "script": _sha256(script)}
    # These two files hold no value of a user.
    own = {"style": Markup(style), "script": Markup(script), "sources": sources, "version": VERSION}
    return environment.get_template(template).render(**own, **values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("ppema.experiments.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters |= {"figure": _or_dash(figure), "spread": _or_dash(spread), "span": span, "sh": shlex.join}
    return made


def _or_dash(shown: Callable[[float], str]) -> Callable[[float | None], str]:
    """`shown`, with a dash for a figure that is missing or not finite."""
    return lambda value: "–" if value is None or not math.isfinite(value) else shown(value)


def _visible(value: Any) -> Any:
    """A text with control characters, which HTML lacks, as Python's escapes. Line breaks stay."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(escaped, value.split("\n")))


def _file(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
