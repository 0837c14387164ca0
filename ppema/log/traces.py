"""What a run left beside its checkpoints, which says how far it had got where they are gone."""

from __future__ import annotations

from pathlib import Path

from ppema.checkpoint.folder import contents, step_folders, step_of
from ppema.log.records import newest_saved, read_metrics

# VisualDL's record of the file itself takes less; with one figure behind it a file takes more.
_NO_FIGURE = 64  # bytes


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


def has_figures(vdl: Path) -> bool:
    """Whether a file of VisualDL's in the folder `vdl` holds a figure. Raises CheckpointError where it can not be read."""
    return any((vdl / name).lstat().st_size > _NO_FIGURE for name in vdl_files(vdl))


def vdl_files(vdl: Path) -> list[str]:
    """The names of VisualDL's files in the folder `vdl`. Raises CheckpointError where it can not be read."""
    names = [each.name for each in contents(vdl) if not each.is_dir(follow_symlinks=False)]
    return [name for name in names if name.startswith("vdlrecords.") and name.endswith(".log")]
