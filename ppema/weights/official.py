"""Checkpoints with Paddle 2's own ExponentialMovingAverage: their raw weights, and the averages that its `apply` computes.

The class computes E_t = d·E_{t-1} + (1 - d)·θ_t from E_0 = 0. For a constant d, the average is E_t/(1 - d^t). The variables are
"<name><parameter>_ema_<number>" for E_t, "@EMA_STEP_COUNTER@" for the number t of updates, "scheduled_ema_decay_rate" for d.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppema.averaging.precision import HALF_TYPES, fitted, widened
from ppema.checkpoint.tensors import Arrays
from ppema.config import PDPARAMS
from ppema.errors import CheckpointError, Naming
from ppema.weights.pdparams import read_pdparams
from ppema.weights.variable_file import read_variable

_PDOPT = ".pdopt"
_COUNTER, _DECAY = "@EMA_STEP_COUNTER@", "scheduled_ema_decay_rate"
_SHADOW = re.compile(r"(.+)_ema_\d+")
# _KEPT: suffixes of an optimizer's variables after the parameter's name. _OTHER: variables that belong to no parameter.
_KEPT = re.compile(
    r"_(moment[12]?|moment2_max|beta[12]_pow_acc|velocity|momentum|mean_square|mean_grad|inf_norm|slow|_avg_squared_(grad|update)"
    r"|fp32_master|squared|linear|accumulator)_\d+"
)
_OTHER = re.compile(r"@.*@|scheduled_ema_decay_rate|learning_rate_\d+")


@dataclass(frozen=True)
class OfficialCheckpoint:
    """Raw and averaged arrays by variables' names, of equal shapes and dtypes. updates, decay: t and d.

    A variable without an average has its raw value in both.
    """

    raw: dict[str, np.ndarray]
    averages: dict[str, np.ndarray]
    updates: int
    decay: float

    @property
    def correction(self) -> float:
        """1 - d^t, the divisor of E."""
        return _correction(self.decay, self.updates)


def read_official(path: Path, decay: float | None = None, updates: int | None = None) -> OfficialCheckpoint:
    """The checkpoint at `path`.

    path: X, X.pdparams or X.pdopt of `paddle.static.save(program, X)`, or a folder with one file per variable.
    decay, updates: d and t, required if the files lack them; otherwise they must equal those in the files.

    Raises CheckpointError for files that are missing, damaged or without averages, that lack d or t, or whose decay varied.
    """
    try:
        weights, others = _read_folder(path) if path.is_dir() else _read_saved(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    shadow_of = _shadows(path, weights, others)
    steps = _updates(path, others, updates)
    constant = _decay(path, others, decay, steps)
    averages = dict(weights)
    for name, shadow in shadow_of.items():
        wide = widened(others[shadow])
        averages[name] = fitted((wide / _correction(constant, steps)).astype(wide.dtype), weights[name].dtype.name)
    return OfficialCheckpoint(weights, averages, steps, constant)


def same_weights(found: OfficialCheckpoint) -> bool:
    """Whether the raw weights equal the averages, because the checkpoint was saved while the averages were applied.

    The comparison allows a common factor within 1e-3 of 1: the class rounds 1 - d^t to float32, an error that is large for few
    updates. After one update both are equal in any case, so the result is False.
    """
    if found.updates == 1:
        return False
    pairs = [(widened(found.raw[name]).ravel(), widened(value).ravel()) for name, value in found.averages.items()]
    both, square = (sum(float(np.vdot(a, b)) for a, b in each) for each in (pairs, [(b, b) for _, b in pairs]))
    factor = both / square if square else 1.0
    bounds = [1e-2 if each.dtype.name in HALF_TYPES else 1e-6 for each in found.raw.values()]
    return abs(factor - 1) < 1e-3 and all(
        np.abs(raw - factor * mean).max(initial=0) <= bound * np.abs(mean).max(initial=0)
        for (raw, mean), bound in zip(pairs, bounds, strict=True)
    )


def _correction(decay: float, updates: int) -> float:
    return 1 - decay**updates


def _read_saved(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The weights and all other arrays, by name, in the files of `paddle.static.save`. Raises CheckpointError."""
    prefix = str(path)
    for suffix in (PDPARAMS, _PDOPT, ".pdmodel"):
        prefix = prefix.removesuffix(suffix)
    parameters, rest = Path(prefix + PDPARAMS), Path(prefix + _PDOPT)
    if path.is_file() and path not in (parameters, rest) and path.suffix != ".pdmodel":
        raise CheckpointError(
            f"{path}: neither a folder nor a file *{PDPARAMS}: one file of all variables has no names in it; load it into its "
            "program with Paddle 2 and save that with paddle.static.save"
        )
    weights = read_pdparams(parameters)
    if not rest.exists():
        raise CheckpointError(
            f"{rest}: no such file, and the averages are in it: paddle.static.save wrote it beside {parameters}"
        )
    return weights, read_pdparams(rest)


def _read_folder(path: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The weights and all other arrays, by name, in a folder with one file per variable. Raises CheckpointError."""
    files = sorted(each for each in path.iterdir() if each.is_file())
    for file in files:
        if file.suffix in (PDPARAMS, _PDOPT):
            raise CheckpointError(f"{path}: it is a folder with {file.name}: name that file")
    arrays = {file.name: read_variable(file) for file in files}
    others = {name for name in arrays if _SHADOW.fullmatch(name) or _OTHER.fullmatch(name) or _is_kept(name, arrays)}
    weights = {name: array for name, array in arrays.items() if name not in others}
    return weights, {name: arrays[name] for name in sorted(others)}


def _is_kept(name: str, arrays: Arrays) -> bool:
    """Whether `name` is an optimizer's variable for another variable of `arrays`."""
    return any(_KEPT.fullmatch(name, len(each)) for each in arrays if len(each) < len(name) and name.startswith(each))


def _shadows(path: Path, weights: Arrays, others: Arrays) -> dict[str, str]:
    """The names of the variables E by their parameters' names.

    The name of an instance of the class precedes the parameter's name. Two instances in one program share the counter and the
    decay, so their averages are equal. Raises CheckpointError if averages differ, fit no variable, or do not exist.
    """
    found: dict[str, str] = {}
    for shadow in others:
        match = _SHADOW.fullmatch(shadow)
        if match is None:
            continue
        name = max((each for each in weights if match[1].endswith(each)), key=len, default=None)
        if name is None:
            raise CheckpointError(f"{path}: {shadow!r} is the average of no variable in it")
        if weights[name].shape != others[shadow].shape:
            shapes = f"{list(others[shadow].shape)} and {list(weights[name].shape)}"
            raise CheckpointError(f"{path}: {shadow!r} and {name!r} are of different shapes, {shapes}")
        if name in found and not np.array_equal(others[shadow], others[found[name]]):
            raise CheckpointError(f"{path}: {found[name]!r} and {shadow!r} are two averages of one variable, and differ")
        found[name] = shadow
    if not found:
        raise CheckpointError(
            f"{path}: no averages of paddle.static.ExponentialMovingAverage are in it: no variable is called "
            f"'<parameter>_ema_0', such as {min(weights, default='fc_0.w_0') + '_ema_0'!r}"
        )
    return found


def _updates(path: Path, others: Arrays, given: int | None) -> int:
    found = _scalar(path, others, _COUNTER)
    if found is not None and given is not None and given != int(found):
        raise CheckpointError(
            Naming("{}: {updates} is {}, and {} in it is {}: leave {updates} out", path, given, _COUNTER, int(found))
        )
    if found is None and given is None:
        raise CheckpointError(
            Naming("{}: it lacks {}, the number of updates, which the averages depend on: give {updates}", path, _COUNTER)
        )
    updates = int(found) if found is not None else int(given or 0)
    if updates < 1:
        raise CheckpointError(f"{path}: after {updates} updates there are no averages yet")
    return updates


def _decay(path: Path, others: Arrays, given: float | None, updates: int) -> float:
    """d in float32, as the class uses it. Raises CheckpointError if d is missing, invalid or varied."""
    found = _scalar(path, others, _DECAY)
    if found is None and given is None:
        raise CheckpointError(Naming("{}: it lacks {}, the decay, which the averages depend on: give {decay}", path, _DECAY))
    decay = float(np.float32(found if found is not None else given))
    if not 0 <= decay < 1:
        raise CheckpointError(f"{path}: its decay is {decay:g}; expected a number in [0, 1)")
    if given is not None and np.float32(given) != np.float32(decay):
        text = "{}: {decay} is {:g}, and {} in it is {:g}, that of the last update: the averages of a varying decay can not be "
        raise CheckpointError(Naming(text + "corrected", path, given, _DECAY, decay))
    if given is None and _grew(decay, updates):
        text = "{}: its decay, {:g}, is that of thres_steps after {} updates, and the averages of a varying decay can not be "
        raise CheckpointError(Naming(text + "corrected; if it was constant, give {decay} {:g}", path, decay, updates, decay))
    return decay


def _grew(decay: float, updates: int) -> bool:
    """Whether the decay may have varied: d is (1 + m)/(10 + m) of `thres_steps`, at a step m close to t.

    The variation is ignored if 1 - d^t is 1 in float32.
    """
    if 1 - np.float32(decay**updates) == 1:
        return False
    return any(np.float32((1 + m) / (10 + m)) == np.float32(decay) for m in range(updates - 2, updates + 3) if m >= 0)


def _scalar(path: Path, others: Mapping[str, np.ndarray], name: str) -> float | None:
    if name not in others:
        return None
    if others[name].size != 1:
        raise CheckpointError(f"{path}: {name} has {others[name].size} elements in place of one")
    return float(others[name].reshape(()))
