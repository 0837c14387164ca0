"""Writes the report of a run or a sweep: one file of HTML, which needs no server and no network."""

from __future__ import annotations

import os
from pathlib import Path

from ppema.checkpoint.durable import replace_file
from ppema.errors import TrainingError
from ppema.experiments.pages.run_page import run_page
from ppema.experiments.pages.sweep_page import sweep_page
from ppema.experiments.sweeps.sweep_folder import REPORT, is_sweep
from ppema.log.run import Run, run


def report(path: str | os.PathLike[str] | Run, to: str | os.PathLike[str] | None = None) -> Path:
    """Write the report of a run or a sweep as one file of HTML, and return its path. A file there is replaced.

    The page has curves of all weights as SVG, tables, the config with the place where each key was set, the environment,
    warnings and commands. A run may still go on; the page then says so.

    path: the output folder of a run, the folder of a sweep, or `ppema.run(path)`. to: the file, by default report.html in that
    folder.

    Does not load paddle. Raises PpemaError if `path` is neither a run nor a sweep, or if its files can not be read, and
    TrainingError if the file can not be written.
    """
    folder = path.path if isinstance(path, Run) else Path(path)
    page = sweep_page(folder) if is_sweep(folder) else run_page(run(folder))
    file = folder / REPORT if to is None else Path(to)
    try:
        replace_file(file, page.encode(errors="backslashreplace"))
    except OSError as error:
        raise TrainingError(f"{file}: the report could not be written: {error.strerror}") from error
    return file
