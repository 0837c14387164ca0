"""A transform of the user's own, called once for each sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppema.data.seeding import seed_generators
from ppema.errors import ConfigError, DataError
from ppema.user_code.blame import blamed
from ppema.user_code.modules import folders_looked_in, looking_in
from ppema.user_code.names import check_arguments, resolve

RNG = "rng"
# Their images are [H, W, C], so that most of them would change the wrong axis of [C, H, W] without an error.
_FOREIGN = ("paddle.vision.", "torchvision.", "PIL.")


class OwnTransform:
    """The callable at a dotted path. It receives the arrays of one sample, one for each field, and returns them changed.

    A class is called with `args` once, and its instance with the arrays; a function is called with arrays and `args`. If it has
    a parameter `rng`, it also receives a `np.random.Generator`. That generator, and `random` and `np.random`, are seeded from
    (seed, epoch, sample, place in the list) before each call, so that draws depend on nothing else.

    Raises ConfigError at ("name",) and ("args", key) for a name or arguments that do not fit, and for a class that raises.
    A pickle holds name and arguments. Unpickling imports the module anew, from the same folders.
    """

    def __init__(self, name: str, args: Mapping[str, Any], arrays: int):
        """arrays: the number of arrays that it receives. random: whether it takes a generator."""
        self.name, self._args, self._arrays = name, dict(args), arrays
        if name.startswith(_FOREIGN):
            raise ConfigError.of(
                f"{name} takes images of another layout than [C, H, W]: name a built-in transform, or call it in a function of "
                "your own, which converts them",
                "name",
            )
        found = resolve(name, {}, "transform")
        self._folders = folders_looked_in()
        if inspect.isclass(found):
            check_arguments(found, args, what=name)
            try:
                made = found(**args)
            except (Exception, SystemExit) as error:
                raise ConfigError.of(f"{name}: {blamed(error)}", "name") from error
            if not callable(made):
                raise ConfigError.of(f"{name} has no __call__(image)", "name")
            self._call: Callable[..., Any] = made
            self._keywords: dict[str, Any] = {}
        else:
            self._call, self._keywords = found, self._args
        self.random = _takes_rng(self._call)
        given = (RNG,) if self.random else ()
        check_arguments(self._call, self._keywords, positional=arrays, given=given, what=name)

    def __reduce__(self) -> tuple[Callable[..., OwnTransform], tuple[Any, ...]]:
        return _opened, (self._folders, self.name, self._args, self._arrays)

    def __call__(self, arrays: Sequence[np.ndarray], seed: int, epoch: int, index: int, place: int) -> Sequence[Any]:
        """The changed arrays of sample `index`. The caller has borrowed the global generators.

        Raises DataError, with file and line of the user's code, if the call raises or does not return as many arrays.
        """
        numbers = seed_generators(seed, epoch, index, place)
        keywords = dict(self._keywords)
        if self.random:
            keywords[RNG] = np.random.Generator(np.random.PCG64(numbers))
        try:
            changed = self._call(*arrays, **keywords)
        except (Exception, SystemExit) as error:
            raise DataError(blamed(error)) from error
        if len(arrays) == 1:
            return (changed,)
        if not isinstance(changed, (tuple, list)) or len(changed) != len(arrays):
            got = f"{len(changed)}" if isinstance(changed, (tuple, list)) else f"a {type(changed).__name__}"
            raise DataError(f"expected a tuple of {len(arrays)} arrays, one for each field, got {got}")
        return changed


def _opened(folders: Sequence[str], name: str, args: Mapping[str, Any], arrays: int) -> OwnTransform:
    with looking_in(folders):
        return OwnTransform(name, args, arrays)


def _takes_rng(function: Callable[..., Any]) -> bool:
    try:
        return RNG in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
