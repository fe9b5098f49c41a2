"""Outputs that were not written: poison before a call, and a count of what is left of it after."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

Buffer = Any
"""A numpy array or a tensor of torch, contiguous."""


class Poison:
    """Fills outputs before a call with a pattern that no right answer holds, and counts what is left of it.

    Floats become a NaN with a payload drawn for each call, integers a number drawn for each call far outside of any
    index, so that a program can neither leave an output as it was nor write the pattern on purpose.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()
        self._words: dict[int, int] = {}

    def fill(self, *outputs: Buffer) -> None:
        """Draw new patterns and write them."""
        self._words = {}
        for output in outputs:
            bits = _bits(output)
            bits[...] = self._words.setdefault(_key(output), self._draw(output, bits))

    def left(self, *outputs: Buffer) -> int:
        """How many elements still hold the pattern of the last `fill`. Raises ValueError for another output."""
        count = 0
        for output in outputs:
            if _key(output) not in self._words:
                raise ValueError("expected an output that was filled before the call")
            count += int((_bits(output) == self._words[_key(output)]).sum())
        return count

    def _draw(self, output: Buffer, bits: Buffer) -> int:
        name, size = str(output.dtype).removeprefix("torch."), int(bits.itemsize)
        payload = self._random.getrandbits(8 * size)
        if "float" in name:
            # Sign and exponent all ones, a quiet NaN, and at least one more bit.
            head = {"bfloat16": 0xFFC0, "float16": 0xFE00, "float32": 0xFFC00000, "float64": 0xFFF8 << 48}[name]
            word = head | (payload & (_lowest(head) - 1)) | 1
        else:
            # The most negative quarter: no index, no count.
            word = (payload & ((1 << (8 * size - 2)) - 1)) | 1 << (8 * size - 1)
        return word - (1 << 8 * size)


def _bits(output: Buffer) -> Buffer:
    """The elements as signed integers of the same size, in the same memory."""
    size = int(output.itemsize)
    if isinstance(output, np.ndarray):
        return output.view(f"i{size}")
    import torch

    return output.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size])


def _key(output: Buffer) -> int:
    return int(output.ctypes.data if isinstance(output, np.ndarray) else output.data_ptr())


def _lowest(word: int) -> int:
    return word & -word
