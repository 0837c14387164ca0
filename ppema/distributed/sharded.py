"""`ShardedAverages`: the averages of a run that its ranks share, and how they are put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from ppema.averaging.precision import SHADOW_TYPES, finite, fitted
from ppema.averaging.shards import Sharding
from ppema.checkpoint.tensors import Form
from ppema.data import GivenUp
from ppema.distributed.whole_arrays import copy_whole, put_together
from ppema.distributed.world import World
from ppema.errors import PeerError, PpemaError
from ppema.ir import scope
from ppema.passes.average import Average


class ShardedAverages:
    """The averages of a run of which each rank holds a part. Where ranks exchange, all of them call, in the same order.

    variables: the names of the shadows and rests that are shared. Of each of them a rank has its piece, or nothing.
    """

    def __init__(self, world: World, where: Any, averages: Mapping[str, Average]):
        """where: the scope of the run; averages: all of them, by name. Those that each rank holds whole are left out."""
        self._world, self._scope = world, where
        self._shared = {name: (each, each.sharding) for name, each in averages.items() if each.sharding is not None}
        self.variables = {variable for name in self._shared for held in self._held(name) for variable in held.values()}
        self._kept: dict[str, np.ndarray] = {}

    def __bool__(self) -> bool:
        """Whether there is any such average."""
        return bool(self._shared)

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(self._shared)

    def __contains__(self, name: str) -> bool:
        """Whether ranks share the average `name`."""
        return name in self._shared

    def forms(self, name: str) -> dict[str, Form]:
        """The types and shapes of the whole arrays of the average `name`, by its shared variables."""
        _, sharding = self._shared[name]
        types = self._types(sharding)
        return {
            held[each]: (np.dtype(types[each]), shape) for held in self._held(name) for each, shape in sharding.shapes.items()
        }

    def own(self, name: str) -> dict[str, np.ndarray]:
        """The pieces of the average `name` that this rank holds, by the shared variables. They may change with the next run."""
        _, sharding = self._shared[name]
        return {held[each]: scope.shared(self._scope, held[each]) for held in self._held(name) for each in sharding.own}

    def whole(self, name: str) -> Iterator[tuple[str, np.ndarray]]:
        """Put the average `name` together: its shared variables, and the whole array of each.

        An array may be used until the next one. Raises PeerError.
        """
        for held in self._held(name):
            for parameter, array in self._whole(name, held):
                yield held[parameter], array

    def assist(self) -> None:
        """Take part while another rank puts each average together. Raises PeerError."""
        for name in self:
            for _ in self.whole(name):
                pass

    @contextmanager
    def in_place(self, name: str) -> Iterator[None]:
        """A context in which the variables of the raw weights hold the average `name`, if the ranks share it.

        Each rank keeps its piece of the raw weights meanwhile. They come back at the end bit for bit, also after an error for
        users, which all ranks raise alike. After any other error they are lost: the run ends, and its state is not saved.
        Raises PeerError.
        """
        if name not in self._shared:
            yield
            return
        average, sharding = self._shared[name]
        types = {each: scope.dtype(self._scope, each) for each in sharding.shapes}
        raw = {each: piece.of(scope.shared(self._scope, each)).copy() for each, piece in sharding.own.items()}

        def put_back() -> None:
            self._world.meet(f"putting the raw weights back after {name!r}")
            for parameter, array in put_together(self._world, sharding.shapes, types, partial(_pieces, sharding, raw)):
                scope.put(self._scope, {parameter: array})

        for parameter, array in self._whole(name, average.shadow_of):
            scope.put(self._scope, {parameter: fitted(array, types[parameter])})
        try:
            yield
        except PeerError:
            raise
        except (PpemaError, GivenUp):
            put_back()
            raise
        put_back()

    def keep(self, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Keep the shared variables of `state`, whole arrays by variable's name, for `hand_out`. Returns the others."""
        self._kept |= {name: array for name, array in state.items() if name in self.variables}
        return {name: array for name, array in state.items() if name not in self.variables}

    def hand_out(self) -> None:
        """Give each rank its pieces of what the first one keeps, if it keeps any. Raises PeerError."""
        if not self._shared or not self._world.from_first(b"kept" if self._kept else b"", "handing averages out"):
            return
        for name, (_, sharding) in self._shared.items():
            for held in self._held(name):
                fill = partial(copy_whole, {each: self._kept[held[each]] for each in sharding.shapes} if self._kept else {})
                for parameter, array in put_together(self._world, sharding.shapes, self._types(sharding), fill):
                    if piece := sharding.own.get(parameter):
                        scope.put(self._scope, {held[parameter]: piece.of(array).reshape(sharding.held_shape(parameter))})
        self._kept = {}

    def finite(self, variable: str) -> bool:
        """Whether all numbers of a shared variable are finite, as far as this rank has it or keeps it for `hand_out`."""
        if variable in self._kept:
            return finite(self._kept[variable])
        return bool(scope.missing(self._scope, [variable])) or scope.all_finite(self._scope, variable)

    def _held(self, name: str) -> list[Mapping[str, str]]:
        """The shared variables of the average `name`, by parameter: its shadows, and its rests if it has any."""
        average, sharding = self._shared[name]
        return [{each: held[each] for each in sharding.shapes} for held in (average.shadow_of, average.rest_of) if held]

    def _types(self, sharding: Sharding) -> dict[str, str]:
        """numpy's names of the types of whole shadows and rests, by parameter."""
        return {each: SHADOW_TYPES[scope.dtype(self._scope, each)] for each in sharding.shapes}

    def _whole(self, name: str, held: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
        """The whole arrays of an average, by parameter. held: the variables in which the ranks have their pieces."""
        _, sharding = self._shared[name]
        self._world.meet(f"putting the average {name!r} together")
        own = {each: scope.shared(self._scope, held[each]) for each in sharding.own}
        yield from put_together(self._world, sharding.shapes, self._types(sharding), partial(_pieces, sharding, own))


def _pieces(sharding: Sharding, own: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> None:
    """Copy the pieces `own` of this rank into those of `arrays` that have one."""
    for name in arrays.keys() & own.keys():
        sharding.own[name].of(arrays[name])[:] = own[name].reshape(-1)
