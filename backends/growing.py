"""A transformers cache layer that appends in place: room for more positions is set aside, so a new token costs no copy of the old ones.

Keys and values that were handed out stay as they are: a layer writes only into room of its own, after all positions it has handed out,
and one that began with another's tensors (`like`) has no room until it grows, when it takes a copy. Since every layer of a model asks its
cache once per forward pass, this is also where a pass that nobody waits for any more is given up.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

_SPARE = 64  # positions set aside beyond those needed, at least
_SMALL = 1 << 15  # elements; copying fewer costs less than keeping room for them


class Halted(Exception):
    """A forward pass was given up."""


class Halt:
    """Calls off forward passes. `running` is the job the model's thread is at, `asked` the one last called off."""

    def __init__(self) -> None:
        self.running: object = None
        self.asked: object = None

    def check(self) -> None:
        """Raises Halted where the running job was called off."""
        if self.asked is not None and self.asked is self.running:
            raise Halted


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values `[rows, heads, positions, size of a head]`."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, halt: Halt) -> None:
        super().__init__()
        self._halt = halt
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends keys and values; all of them so far. Raises Halted where the pass was called off."""
        self._halt.check()
        if not self.is_initialized or (self._room is None and self.keys.numel() < _SMALL):
            return super().update(key_states, value_states)  # type: ignore[no-any-return]
        before = self.keys.shape[2]
        after = before + key_states.shape[2]
        if self._room is None or after > self._room[0].shape[2]:
            self._make_room(key_states, value_states, before, after)
        room_keys, room_values = self._room  # type: ignore[misc]
        room_keys[:, :, before:after] = key_states
        room_values[:, :, before:after] = value_states
        self.keys, self.values = room_keys[:, :, :after], room_values[:, :, :after]
        return self.keys, self.values

    def _make_room(self, key_states: torch.Tensor, value_states: torch.Tensor, before: int, after: int) -> None:
        capacity = after + max(_SPARE, after // 4)
        rooms = []
        for new, old in ((key_states, self.keys), (value_states, self.values)):
            rooms.append(new.new_empty((*new.shape[:2], capacity, new.shape[3])))
            rooms[-1][:, :, :before] = old
        self._room = (rooms[0], rooms[1])

    def like(self, keys: torch.Tensor, values: torch.Tensor) -> GrowingLayer:
        """Another layer of the model, which begins with these keys and values and never changes them."""
        layer = GrowingLayer(self._halt)
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        return layer

    def picked(self, rows: torch.Tensor) -> GrowingLayer:
        """Another layer of the model, which begins with some rows of this one, in room of its own."""
        if self.keys.numel() < _SMALL:
            return self.like(self.keys.index_select(0, rows), self.values.index_select(0, rows))
        before = self.keys.shape[2]
        rooms = []
        for old in (self.keys, self.values):
            rooms.append(old.new_empty((len(rows), old.shape[1], before + max(_SPARE, before // 4), old.shape[3])))
            torch.index_select(old, 0, rows, out=rooms[-1][:, :, :before])
        layer = self.like(rooms[0][:, :, :before], rooms[1][:, :, :before])
        layer._room = (rooms[0], rooms[1])
        return layer


def growing_cache(layers: list[GrowingLayer]) -> DynamicCache:
    """A cache of these layers."""
    cache = DynamicCache()
    cache.layers = layers
    cache.layer_class_to_replicate = None
    return cache
