"""The export of weights to one file for other programs: safetensors, or Paddle's pdparams."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ppema.checkpoint.checkpoint import with_weights
from ppema.checkpoint.folder import MANIFEST
from ppema.checkpoint.manifest import Manifest
from ppema.checkpoint.paths import checkpoints_of
from ppema.config import PDPARAMS, RAW, SAFETENSORS, Config
from ppema.deploy.description import DescribedInput, ModelDescription
from ppema.deploy.origin import described_weights, known_figures
from ppema.errors import CheckpointError, Naming, PpemaError
from ppema.weights.file import is_file, model_in, write_weights, write_whole
from ppema.weights.official import read_official, same_weights
from ppema.weights.pdparams import pdparams
from ppema.weights.source import by_place
from ppema.weights.stored_weights import StoredWeights

ArrayFormat = Literal["safetensors", "pdparams"]
Names = Literal["variables", "places"]
_SUFFIXES: dict[ArrayFormat, str] = {"safetensors": SAFETENSORS, "pdparams": PDPARAMS}
# The names that the usual reader of each format needs: ppema reads variables' names, Layer.set_state_dict reads places.
_USUAL: dict[ArrayFormat, Names] = {"safetensors": "variables", "pdparams": "places"}


@dataclass(frozen=True)
class Exported:
    """A written file. format, names: of the file; weights: its content, in words; variables: their number."""

    file: str
    format: ArrayFormat
    names: Names
    weights: str
    variables: int


def export_arrays(
    config: Config,
    to: str | os.PathLike[str],
    *,
    format: ArrayFormat | None = None,
    weights: str | os.PathLike[str] = RAW,
    checkpoint: str | os.PathLike[str] | None = None,
    names: Names | None = None,
) -> Exported:
    """Write weights of a run of `config` to the file `to`. Arguments and errors are those of `ppema.api.export`."""
    file, weights = Path(to), os.fspath(weights)
    _check_target(file)
    made = _format(file, format)
    named = _one_of("names", names or _USUAL[made], Names)
    found = StoredWeights.of_file(Path(weights)) if is_file(weights) else None
    if found is None or named == "places":
        origin = checkpoints_of(config).find(os.fspath(checkpoint or "last"), with_weights(RAW if found else weights))
        found = found.placed(origin) if found else StoredWeights.of_checkpoint(origin, weights)
    elif checkpoint is not None:
        raise PpemaError(Naming("{checkpoint}: {} is a file of weights: leave it out", weights))
    arrays = found.arrays if named == "variables" else by_place(found.arrays, found.structured)
    if made == "safetensors":
        model = model_in(found.source) if found.checkpoint is None else _description(found, found.checkpoint.manifest)
        write_weights(file, arrays, step=found.step, what=found.what, numbers=found.numbers, model=model)
    else:
        table = {place: name for place, name in found.structured.items() if place in arrays}
        write_whole(file, pdparams(arrays, table if named == "places" else None))
    return Exported(str(file), made, named, found.what, len(found.arrays))


def _description(found: StoredWeights, manifest: Manifest) -> str:
    """The JSON of model.json, without outputs: they are known to a program, and no code of the user runs here."""
    meaning = "what data.eval returns, after its transforms; the program applies data.normalize"
    inputs = [
        DescribedInput(name=each.name, shape=[-1, *each.shape], dtype=each.dtype, meaning=meaning)
        for each in manifest.fields
        if not each.is_target
    ]
    why = "a file of arrays is written without a run of the model"
    return ModelDescription(
        name=found.source.parent.parent.name,
        inputs=inputs,
        outputs=[],
        classes=manifest.config.get("data", {}).get("classes"),
        weights=described_weights(found),
        metrics=known_figures(found, why),
        config=manifest.config,
        versions={"ppema": manifest.ppema, "paddle": manifest.paddle},
    ).to_json()


def export_official(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    weights: Literal["raw", "ema"],
    format: ArrayFormat | None = None,
    decay: float | None = None,
    updates: int | None = None,
) -> Exported:
    """Convert a checkpoint of Paddle 2's static graph with `paddle.static.ExponentialMovingAverage` to the file `to`.

    path: X, X.pdparams or X.pdopt of `paddle.static.save(program, X)`, or a folder with one file per variable. weights: "raw",
    or "ema", the averages divided by 1 - d^t. decay, updates: d and t, required if the checkpoint lacks them. The arrays have
    the names of their variables.

    Raises PpemaError, CheckpointError and TrainingError, as `export` and `read_official` do.
    """
    file, path = Path(to), Path(path)
    _check_target(file)
    made = _format(file, format)
    _one_of("weights", weights, Literal["raw", "ema"])
    found = read_official(path, decay, updates)
    if weights == RAW and same_weights(found):
        text = (
            "{}: its weights are the averages: it was saved while they were applied, and has no raw weights; give {weights} ema"
        )
        raise CheckpointError(Naming(text, path))
    arrays = found.raw if weights == RAW else found.averages
    what = f"{weights} of {path.name} after {found.updates} updates"
    if weights != RAW:
        what += f" of decay {found.decay:g}, divided by {found.correction:.6g}"
    if made == "safetensors":
        write_weights(file, arrays, step=found.updates, what=what)
    else:
        write_whole(file, pdparams(arrays, None))
    return Exported(str(file), made, "variables", what, len(arrays))


def _format(file: Path, asked: ArrayFormat | None) -> ArrayFormat:
    """The format of `file`. Raises PpemaError without one, and if the file's suffix, which its readers use, is another's."""
    by_suffix: ArrayFormat | None = next((each for each, suffix in _SUFFIXES.items() if file.name.endswith(suffix)), None)
    if asked is None and by_suffix is None:
        raise PpemaError(Naming("{to}: {}: expected a name that ends in {}", file, " or ".join(_SUFFIXES.values())))
    found: ArrayFormat = _one_of("format", asked or by_suffix, ArrayFormat)
    if by_suffix not in (None, found):
        raise PpemaError(Naming("{to}: {}: a file of {format} {} ends in {}", file, found, _SUFFIXES[found]))
    return found


def _check_target(file: Path) -> None:
    try:
        folder = file.is_dir()
    except OSError as error:
        raise PpemaError(Naming("{to}: {}: {}", file, error.strerror)) from error
    if folder:
        raise PpemaError(Naming("{to}: {}: it is a folder: name a file in it", file))
    if (file.parent / MANIFEST).exists():
        raise PpemaError(Naming("{to}: {}: it would be a part of the checkpoint in that folder: choose another one", file))


def _one_of(argument: str, value: Any, kind: Any) -> Any:
    """`value`, which must be a member of the Literal `kind`. Raises PpemaError, which names `argument`, if it is not."""
    known = get_args(kind)
    if value not in known:
        raise PpemaError(Naming(f"{{{argument}}}: expected {{}}, got {{!r}}", " or ".join(known), value))
    return value
