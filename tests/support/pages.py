"""README, CONTRIBUTING and the pages of docs: their text, their fenced blocks and their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
_FENCED = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """The text between two fences. kind: the words after the first fence."""

    page: str
    kind: str
    text: str


def blocks(kind: str | None = None, page: str | None = None) -> list[Block]:
    """The fenced blocks of all pages or one, of all kinds or one, in order."""
    found = [Block(name, each, dedent(code)) for name, text in PAGES.items() for each, code in _FENCED.findall(text)]
    return [each for each in found if kind in (None, each.kind) and page in (None, each.page)]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", PAGES[page])


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
