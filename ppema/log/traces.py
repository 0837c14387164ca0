"""What a run left beside its checkpoints, which says how far it had got where they are gone."""

from __future__ import annotations

from pathlib import Path

from ppema.checkpoint.folder import step_folders, step_of
from ppema.log.board import has_figures
from ppema.log.records import newest_saved, read_metrics


def lost(output: Path, save_every: int) -> str | None:
    """The sign in `output`, in words, that the run there had saved a checkpoint; None where a kill may have come before.

    save_every: steps between two saves. Records say which step was saved. Of a run that wrote no such record, steps tell: the
    second save waits for the first, so that records of later steps follow a checkpoint. Raises SetupError, CheckpointError for
    what can not be read.
    """
    saved = newest_saved(output)
    if saved is not None:
        return f"metrics.jsonl says that a checkpoint of step {saved.step} was saved"
    records = read_metrics(output)
    furthest = max((record["step"] for record in records), default=0)
    if furthest > 2 * save_every:
        return f"metrics.jsonl has records up to step {furthest}"
    snapshots = step_folders(output / "snapshots")
    if snapshots and (step_of(snapshots[-1]) > 2 * save_every or not records):
        return f"snapshots has one of step {step_of(snapshots[-1])}"
    if has_figures(output / "vdl") and not records:
        return "vdl has records"
    return None
