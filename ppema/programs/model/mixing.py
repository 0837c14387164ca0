"""Mixup and cutmix in the train program. Both mix sample i of a batch with sample n - 1 - i, and their losses likewise.

Mixup: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization". Cutmix: Yun et al. 2019, "CutMix: Regularization Strategy
to Train Strong Classifiers with Localizable Features". For cross-entropy, the mixed loss is that of mixed (soft) labels:

    λ·loss(p, y) + (1 - λ)·loss(p, y') = loss(p, λ·y + (1 - λ)·y')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import paddle

from ppema.config import Config
from ppema.config.sections.mix import Mix
from ppema.data import Field
from ppema.data.fields import numeric_inputs
from ppema.data.transforms.mix_draw import MixDraw
from ppema.errors import ConfigError, listed
from ppema.ir import Variable
from ppema.losses import Weighted
from ppema.programs.model.objective import Objective
from ppema.user_code.blame import building

_PARTNERS, _BLEND, _BOX, _SHARE = "mix.partners", "mix.blend", "mix.box", "mix.share"


@dataclass(frozen=True)
class Mixing:
    """The mixing of a run's batches.

    spec: the section `mix`; inputs: the names of the mixed inputs; size: (H, W) of the images, for cutmix, which may be None.
    """

    spec: Mix
    inputs: tuple[str, ...]
    size: tuple[int, int] | None

    @classmethod
    def of(cls, config: Config, fields: Sequence[Field]) -> Mixing | None:
        """The mixing of `config`; None without a section `mix`. fields: of a sample.

        Raises ConfigError for inputs and targets that can not be mixed.
        """
        if config.mix is None:
            return None
        targets = [field for field in fields if field.is_target]
        with config.at("mix"):
            known = [field.name for field in fields if not field.is_target]
            if config.mix.inputs is None and len(known) > 1:
                example = f"as in inputs: [{known[0]}]"
                raise ConfigError.of(f"the data has several inputs, {listed(known)}: name those to mix, {example}", "inputs")
            names = tuple(config.mix.inputs or known)
            with building("inputs"):
                inputs = numeric_inputs(fields, names, "mixed")
            if config.mix.cutmix is None:
                return cls(config.mix, names, None)
            for field in inputs:
                if len(field.shape) != 3 or min(field.shape) < 1 or field.shape[1:] != inputs[0].shape[1:]:
                    raise ConfigError.of(f"requires images [C, H, W] of one size, the input {field.name} is {field}", "cutmix")
            for field in targets:
                if len(field.shape) > 1:
                    raise ConfigError.of(
                        f"requires one class or vector for each image, the target {field.name} is {field}", "cutmix"
                    )
        return cls(config.mix, names, (inputs[0].shape[1], inputs[0].shape[2]))

    def feed(self, seed: int, samples: int) -> dict[str, np.ndarray]:
        """The draw for a batch of `samples` samples, as inputs of the train program by name.

        seed: that of the program's run, `ppema.checkpoint.state.step_seed`.
        """
        drawn = MixDraw.of(self.spec, self.size, seed)
        found: dict[str, np.ndarray] = {
            _PARTNERS: np.arange(samples)[::-1].copy(),
            _SHARE: np.array([drawn.share], np.float32),
        }
        if self.spec.mixup is not None:
            found[_BLEND] = np.array([drawn.blend], np.float32)
        if self.size is not None:
            found[_BOX] = np.array(drawn.box, np.int64)
        return found

    def batch(
        self, inputs: Mapping[str, Variable], targets: Mapping[str, Variable]
    ) -> tuple[dict[str, Variable], dict[str, Variable]]:
        """Append the mixing of `inputs`, [N, ...] by name, to the default main program.

        Returns the inputs, those of `self.inputs` mixed, and the targets of the samples with which those of the batch are
        mixed. Paddle's flip and where take several times as long as gather and a product.
        """
        partners = paddle.static.data(_PARTNERS, [-1], paddle.int64)
        own = paddle.static.data(_BLEND, [1], paddle.float32) if self.spec.mixup is not None else None
        if self.size is not None:
            outside = _outside(paddle.static.data(_BOX, [4], paddle.int64), self.size)
            own = outside if own is None else own * outside
        assert own is not None, "a section mix has mixup, cutmix or both"
        chosen = {name: inputs[name] for name in self.inputs}
        mixed = {name: value * own + paddle.gather(value, partners) * (1 - own) for name, value in chosen.items()}
        return {**inputs, **mixed}, {name: paddle.gather(target, partners) for name, target in targets.items()}

    def objective(self, config: Config, own: Objective, other: Objective) -> Objective:
        """Append the mixture of two objectives to the default main program, λ·own + (1 - λ)·other for each sample.

        own, other: those of the mixed inputs, with the targets of the samples themselves and of those that they are mixed with.
        Raises ConfigError for a part that has no value for each sample.
        """
        share, parts = paddle.static.data(_SHARE, [1], paddle.float32), {}
        for name, part in own.parts.items():
            with config.at_loss(name):
                parts[name] = _mixed(share, part, other.parts[name])
        return replace(own, parts=parts)


def _mixed(share: Variable, own: Variable | Weighted, other: Variable | Weighted) -> Variable | Weighted:
    if isinstance(own, Weighted) or isinstance(other, Weighted):
        assert isinstance(own, Weighted)
        assert isinstance(other, Weighted)
        # Both samples count with their weights: λ·w and (1 - λ)·w'.
        return Weighted(
            paddle.concat([own.values, other.values]), paddle.concat([own.weights * share, other.weights * (1 - share)])
        )
    if list(own.shape) != [-1]:
        raise ConfigError.of("mix requires a loss that returns one value for each sample; this one returns one for the batch")
    return own * share + other * (1 - share)


def _outside(box: Variable, size: tuple[int, int]) -> Variable:
    """float32 [H, W]: 0 for the pixels inside of `box`, int64[4] (top, bottom, left, right), and 1 for the others."""
    top, bottom, left, right = (box[index : index + 1] for index in range(4))
    rows, columns = (paddle.assign(np.arange(length)) for length in size)
    inside_rows = paddle.logical_and(rows >= top, rows < bottom).unsqueeze(1)
    inside_columns = paddle.logical_and(columns >= left, columns < right).unsqueeze(0)
    return 1 - paddle.logical_and(inside_rows, inside_columns).astype("float32")
