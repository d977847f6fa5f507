"""One flat vector that holds all parameters, and named views into it.

Gradients and moments share the layout, so an optimizer is one pass over vectors, a gradient norm
one product and a checkpoint one slice per name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from numpy.typing import DTypeLike

from fastnn.backend import ALIGNMENT, Array, Backend

# Slots start on multiples of this many elements: 256 bytes in float32, 512 in float64.
_STRIDE = ALIGNMENT // 4


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one parameter lives: vector[start:stop] reshaped to `shape`."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        return self.start + prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of slots in the vector: matrices first, so that weight decay is a prefix.

    `size` is P, padding included; the padding is zero and stays zero, because its gradients are.
    `n_decay` is where the matrices end.
    """

    slots: tuple[Slot, ...]
    size: int
    n_decay: int

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Layout:
        """The layout of named shapes; those of two or more dimensions are matrices."""
        slots: list[Slot] = []
        position = n_decay = 0
        for name, shape in sorted(shapes.items(), key=lambda item: len(item[1]) < 2):
            slot = Slot(name, tuple(shape), position)
            slots.append(slot)
            position = slot.stop + -slot.stop % _STRIDE
            if len(shape) >= 2:
                n_decay = position
        return cls(tuple(slots), position, n_decay)


class Flat:
    """A vector (P,) on one backend, read and written by name: `flat["layers.0.weight"]`."""

    def __init__(self, layout: Layout, backend: Backend, dtype: DTypeLike) -> None:
        self.layout = layout
        self.backend = backend
        self.vector = backend.zeros(layout.size, dtype)
        self._views = {
            slot.name: self.vector[slot.start : slot.stop].reshape(slot.shape)
            for slot in layout.slots
        }

    def twin(self) -> Flat:
        """Zeros in the same layout: gradients, moments."""
        return Flat(self.layout, self.backend, self.vector.dtype)

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __contains__(self, name: str) -> bool:
        return name in self._views

    def __len__(self) -> int:
        return len(self._views)

    @property
    def count(self) -> int:
        """Parameters without the padding."""
        return sum(prod(slot.shape) for slot in self.layout.slots)
