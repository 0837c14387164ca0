"""Finds signs of a run whose checkpoints are gone: its records, snapshots and VisualDL files show how far it came."""

from __future__ import annotations

from pathlib import Path

from ppema.checkpoint.folder import step_folders, step_of
from ppema.log.records import newest_saved, read_metrics
from ppema.log.run_board import drawn


def lost(output: Path, save_every: int) -> str | None:
    """The sign in `output`, in words, that the run there saved a checkpoint; None if it may have been killed before.

    save_every: steps between two saves. A record of a checkpoint is a sure sign. Older versions wrote none. Since the second
    save waits for the first, records after step 2 · save_every prove a checkpoint. Raises SetupError and CheckpointError for
    files and folders that can not be read.
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
    if drawn(output / "vdl") and not records:
        return "vdl has records"
    return None
