"""The process that does checks, one after the other, as its parent asks for them."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from dataclasses import asdict

from ppema.diagnosis.finding import Finding
from ppema.errors import one_line


def examine(device: str, answers: int) -> None:
    """Call the functions whose dotted names come on stdin, one a line. answers: the handle to which findings go, as JSON.

    Tracebacks go to stderr.
    """
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        for line in sys.stdin:
            try:
                module, _, name = line.rstrip("\n").rpartition(".")
                finding = getattr(importlib.import_module(module), name)(device)
            except Exception as error:
                traceback.print_exc()
                finding = Finding("failed", one_line(error))
            sys.stdout.flush()
            sys.stderr.flush()
            print(json.dumps(asdict(finding)), file=out, flush=True)
