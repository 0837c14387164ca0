"""Reads a page of HTML: its elements, texts and curves."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_VOID = {"meta", "br", "hr", "img", "input", "link"}
_SHAPES = {"path", "rect"}  # of SVG, which close themselves


class Page(HTMLParser):
    """A page, which must be well formed: every element is closed, in order.

    elements: the tag and attributes of each; text: all that is shown, and not the style sheet or the script; faults: what is
    wrong with it.
    """

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        self.faults += [f"id {each!r} occurs twice" for each in set(ids) if ids.count(each) > 1]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _SHAPES:
            self.faults.append(f"<{tag}/> does not close itself")

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element, in line {self.getpos()[0]}")

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.text += data

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[list[str]]:
        """The texts of the cells of each row of all tables."""
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", self.source, re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        return [[Page(cell).text.strip() for cell in row] for row in cells]

    def curve(self, name: str) -> list[tuple[float, float]]:
        """The points of the curve with this id, in the units of the data."""
        for tag, attributes in self.elements:
            if "data-scale" in attributes:
                x0, x1, y0, y1 = map(float, (attributes["data-scale"] or "").split())
                left, right, top, bottom = map(float, (attributes["data-frame"] or "").split())
            if tag == "path" and attributes.get("id") == name:
                found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", attributes["d"] or "")
                to_x = (x1 - x0) / (right - left)
                to_y = (y1 - y0) / (bottom - top)
                return [(x0 + (float(x) - left) * to_x, y0 + (bottom - float(y)) * to_y) for x, y in found]
        raise AssertionError(f"no curve {name}")


def page_at(file: Path) -> Page:
    """The page in `file`."""
    return Page(file.read_text(encoding="utf-8"))
