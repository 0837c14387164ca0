"""Checks of small runs: a checkpoint and its continuation, half precision, and VisualDL's files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppema.diagnosis.finding import Finding, bounded
from ppema.diagnosis.paddle_checks import loaded_place

if TYPE_CHECKING:
    from ppema.config import Config

# 14 steps with shuffling, momentum, and two averages.
_CONFIG = """\
model: {model}
data:
  train: {{name: synthetic, shape: [1, 8, 8], classes: 3, samples: 50, batch_size: 8, shuffle: true}}
  eval: {{name: synthetic, shape: [1, 8, 8], classes: 3, samples: 21, batch_size: 8, split: test}}
loss: cross_entropy
metrics: [accuracy]
optimizer: {{name: Momentum, args: {{momentum: 0.9}}}}
lr: 0.05
averages: {{ema: {{decay: 0.9}}, quick: {{decay: 0.99, thres_steps: true}}}}
train: {{epochs: 2, log_every: 5 steps}}
runtime: {{device: "{device}"}}
output: {output}
"""
_CNN = "{name: cnn, args: {in_channels: 1, num_classes: 3, widths: [4]}}"  # has BatchNorm
STEPS, _STOPPED = 14, 6


def small_config(folder: Path, device: str, *overrides: str, model: str = _CNN) -> Config:
    """The config of a small run whose output is `folder`/run."""
    from ppema.config import load_config

    file = folder / "small.yml"
    file.write_text(_CONFIG.format(model=model, device=device, output=folder / "run"), encoding="utf-8")
    return load_config(file, overrides)


def checkpoint(device: str) -> Finding:
    """Whether a run that was stopped and resumed ends with the bytes of one that was not."""
    loaded_place(device)
    from ppema.checkpoint.store import Checkpoints
    from ppema.training.loop import train

    saved = []
    for stops in ((), (f"train.stop_after={_STOPPED} steps",)):
        with tempfile.TemporaryDirectory() as folder:
            for overrides in (stops, ()) if stops else ((),):
                train(small_config(Path(folder), device, *overrides))
            found = Checkpoints(Path(folder) / "run" / "checkpoints").find("last").path
            saved.append({path.name: path.read_bytes() for path in found.glob("*.safetensors")})
    whole, resumed = saved
    differing = [name for name in whole if resumed.get(name) != whole[name]]
    if differing or whole.keys() != resumed.keys():
        return Finding("failed", f"a run that was resumed has other values than one that was not: {', '.join(differing)}")
    files = ", ".join(sorted(whole))
    return Finding("ok", f"{STEPS} steps, with and without a stop after {_STOPPED}: the same bytes in {files}")


def bfloat16(device: str) -> Finding:
    """Whether a run in bfloat16 learns as one in float32."""
    return _half(device, "bfloat16")


def float16(device: str) -> Finding:
    """Whether a run in float16, with a scaled loss, learns as one in float32."""
    return _half(device, "float16")


def _half(device: str, precision: str) -> Finding:
    place = loaded_place(device)
    import paddle

    from ppema.training.loop import train

    if isinstance(place, paddle.CPUPlace):
        return Finding("skipped", "it needs a GPU: on a CPU, Paddle lacks most kernels of half types")
    supports = {"bfloat16": paddle.amp.is_bfloat16_supported, "float16": paddle.amp.is_float16_supported}[precision]
    if not supports(f"gpu:{place.get_device_id()}"):
        return Finding("skipped", f"Paddle says that this GPU has no {precision}")
    losses = []
    for each in ("float32", precision):
        with tempfile.TemporaryDirectory() as folder:
            losses.append(train(small_config(Path(folder), device, f"runtime.precision={each}")).metrics["ema"]["loss"])
    error = abs(losses[1] - losses[0])
    return bounded(error, 0.1, f"{STEPS} steps: the average's loss is {losses[1]:.4f}, in float32 {losses[0]:.4f}")


def visualdl(device: str) -> Finding:
    """Whether VisualDL can be imported, and a record that was written can be read."""
    from ppema.log.board import BoardFile, board_files, kept_records

    counts, edges = np.arange(1, 4), np.linspace(0.0, 1.0, 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = BoardFile(folder)
        file.scalar("loss", 0.5, 1)
        file.histogram("weights", counts, edges, 1)
        file.flush()
        file.close()
        (path,) = board_files(folder)
        size = (folder / path).stat().st_size
        read = [list(record.values[0].histogram.hist) for record in kept_records(folder / path, 1)]
    if read != [counts.tolist()]:
        return Finding("failed", f"a histogram of {counts.tolist()} was read as {read}")
    return Finding("ok", f"a record was written and read again, in a file of {size} bytes")
