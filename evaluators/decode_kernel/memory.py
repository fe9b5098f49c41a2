"""The memory of a launch, on the trusted side: what programs read, what they write, and every byte of both.

A program sees memory as it was when its launch began, in whatever order programs run; what they write is there for the
next launch. Two programs that write different things to one place race, which is a fault.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vevolve.types import CandidateFault, Frame

SECTOR = 32
"""Bytes that a GPU's memory moves at the least."""
SPACING = 1 << 40
"""Between the addresses of two buffers, so that no offset of 32 bits leads from one into another. One of 64 bits does,
and gains nothing: what lies there is an argument that may be asked for, and counted as what it is."""
MAX_STORES = 4096
"""Instructions of one program that write."""
PROCESSORS = 16
"""Of the machine that `span` is counted on."""


@dataclass
class Tally:
    """What the programs of one case moved.

    Attributes:
        by_buffer: bytes loaded and stored, by buffer.
        launches: for each launch the bytes of each program, in the order of their places in the grid.
    """

    by_buffer: dict[str, int] = field(default_factory=dict[str, int])
    launches: list[list[int]] = field(default_factory=list[list[int]])

    @property
    def moved(self) -> int:
        """All bytes."""
        return sum(self.by_buffer.values())

    @property
    def waited(self) -> int:
        """Bytes that go by on each processor, moving or not, until the last one is done; launches follow each other."""
        return sum(makespan(programs) for programs in self.launches)


def makespan(programs: Sequence[int], processors: int = PROCESSORS) -> int:
    """Bytes of the processor that is done last, where each program goes to the one that is free first."""
    free = [0] * processors
    for size in programs:
        heapq.heapreplace(free, free[0] + size)
    return max(free)


class Memory:
    """Buffers at made-up addresses.

    Args:
        inputs: may be read.
        outputs: may be read and written; they begin as NaN.
    """

    def __init__(self, inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]) -> None:
        self._buffers = {name: np.ravel(array).copy() for name, array in {**inputs, **outputs}.items()}
        self._names = tuple(self._buffers)
        self._written = {name: np.full(array.size, -1, np.int64) for name, array in outputs.items()}
        self._pending = {name: self._buffers[name].copy() for name in outputs}
        self._program = -1
        self.tally = Tally()
        for name in outputs:
            self._buffers[name][...] = np.nan

    def address(self, name: str) -> int:
        """Where a buffer begins."""
        return (1 + self._names.index(name)) * SPACING

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """The contents of a buffer, flat."""
        return self._buffers[name]

    def launch(self) -> None:
        """Begin a launch: what was written is there now."""
        for name, written in self._written.items():
            self._buffers[name][written >= 0] = self._pending[name][written >= 0]
            written[...] = -1
        self.tally.launches.append([])
        self._program = -1

    def program(self) -> None:
        """Begin the next program of the launch."""
        self._program += 1
        self.tally.launches[-1].append(0)

    def load(self, at: object, kind: object) -> NDArray[np.generic]:
        """What lies at addresses, one instruction of a program.

        Args:
            at: integers.
            kind: numpy's name of the elements' type.

        Raises:
            CandidateFault: nothing lies there, or elements of another type.
        """
        if not isinstance(at, np.ndarray):
            raise CandidateFault("protocol", "a load names its addresses")
        name, places = self._places(at, "load")
        buffer = self._buffers[name]
        if kind != buffer.dtype.name:
            raise CandidateFault("wrong", f"a load of {kind!s:.16} from `{name}`, which holds {buffer.dtype.name}")
        return buffer[places]

    def store(self, answer: Frame) -> None:
        """Take what a program wrote. Raises `CandidateFault` for what it may not write."""
        if not answer:
            return
        sizes, at, values = (answer.get(name, np.empty(0)) for name in ("sizes", "at", "values"))
        if (
            [one.dtype.name for one in (sizes, at, values)] != ["int64", "int64", "float64"]
            or any(one.ndim != 1 for one in (sizes, at, values))
            or sizes.min() < 1
            or sizes.max() > len(at)
            or not len(at) == len(values) == sizes.sum()
        ):
            raise CandidateFault("protocol", "the stores of a program must be addresses and as many values")
        if len(sizes) > MAX_STORES:
            raise CandidateFault("resource", f"a program stored {len(sizes)} times, at most {MAX_STORES}")
        start = 0
        for size in sizes.tolist():
            self._store(at[start : start + size], values[start : start + size])
            start += size

    def _store(self, at: NDArray[np.int64], given: NDArray[np.float64]) -> None:
        name, places = self._places(at, "store")
        if name not in self._written:
            raise CandidateFault("wrong", f"a store to `{name}`, which is an input")
        with np.errstate(over="ignore"):
            values = given.astype(self._buffers[name].dtype)
        written, pending = self._written[name], self._pending[name]
        others = (written[places] >= 0) & (written[places] != self._program)
        if (pending[places][others] != values[others]).any():
            raise CandidateFault("wrong", f"two programs of a launch wrote different values to one place of `{name}`")
        pending[places] = values
        written[places] = self._program

    def _places(self, at: NDArray[np.generic], what: str) -> tuple[str, NDArray[np.int64]]:
        """The buffer that addresses lie in, and the elements; counts their sectors."""
        address = at.astype(np.int64).ravel()
        number = int(address[0]) // SPACING - 1 if address.size else -1
        if not 0 <= number < len(self._names):
            raise CandidateFault("wrong", f"a {what} at an address where no buffer is")
        name = self._names[number]
        buffer = self._buffers[name]
        offset = address - (1 + number) * SPACING
        if offset.min() < 0 or offset.max() >= buffer.nbytes:
            worst = offset.min() if offset.min() < 0 else offset.max()
            words = f"a {what} of element {worst // buffer.itemsize} of `{name}`, which has {buffer.size}"
            raise CandidateFault("wrong", f"{words}; mask the lanes that are out of range")
        if (offset % buffer.itemsize).any():
            raise CandidateFault("wrong", f"a {what} of `{name}` between two elements")
        moved = np.unique(offset // SECTOR).size * SECTOR
        self.tally.by_buffer[name] = self.tally.by_buffer.get(name, 0) + moved
        self.tally.launches[-1][-1] += moved
        return name, offset // buffer.itemsize


def sectors(places: NDArray[np.integer], itemsize: int) -> int:
    """Bytes of the sectors that hold some elements of a buffer, each once."""
    return int(np.unique(places.astype(np.int64).ravel() * itemsize // SECTOR).size * SECTOR)
