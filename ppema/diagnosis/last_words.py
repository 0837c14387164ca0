"""What a process said before it failed."""

from __future__ import annotations

_LONGEST = 300  # characters


def last_words(output: str) -> str:
    """The last line of a process's output that names an error, or its last line, after a colon; "" without any."""
    lines = [each.strip() for each in output.splitlines() if each.strip()]
    telling = [each for each in lines if "what():" in each or "rror" in each] or lines
    return f": {telling[-1][:_LONGEST]}" if telling else ""
