"""Tokens by 32 bits each: HashAttention's selection (Desai et al. 2024, arXiv:2412.14468) in three launches.

A token's score is the number of its bits that differ from those of the group's queries, summed over the group. Chosen
are sinks and window, then the lowest scores; among equals the earliest block of 32 tokens first, and inside of one in
the order 0, 4, ..., 28, 1, 5, ..., 31. Query bits are the signs of 32 linear maps, computed in the same launch.

The threshold is estimated from 1024 tokens and may be off by three values. Where these hold one wanted token or none,
it is off by more now and then, which `misled` tells: for random bits of 131,072 tokens, in about 2 of 100 heads where
one token of 1024 is wanted, and in 10 to 30 of 100 where a single one is; in none of 200 where one of 200 is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import DTYPES, one_device, whole, whole_query, within
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.hamming_kernel import prepare, tally
from vevolve.kernels.select.threshold import Room, Selection

BITS = 32
BINS = 8
SAMPLE = 1024
MOST_DIGITS = 8
MULTIPLE = 16
"""Tokens, of which a capacity is a multiple, so that codes are fetched four at a time."""


@dataclass(frozen=True)
class Hamming(Selection):
    """The selection of one layer by bits.

    Attributes:
        planes: [H, d, 32].
        codes: int32 [B, H, capacity].
        masks: int32 [units, 1 + 8], how a query's bits are compared.
    """

    planes: torch.Tensor
    codes: torch.Tensor
    masks: torch.Tensor

    @staticmethod
    def of(
        planes: torch.Tensor,
        codes: torch.Tensor,
        lengths: torch.Tensor,
        wanted: int,
        sinks: int = 4,
        window: int = 0,
        chunk: int | None = None,
    ) -> Hamming:
        """Prepare the selection of `wanted` tokens of each KV head.

        Args:
            planes: [H, d, 32], the linear maps whose signs are a query's bits, of the query's type.
            codes: int32 [B, H, capacity], the keys' bits, bit i in the i-th place; capacity a multiple of 16.
            lengths: int32 [B], visible tokens.
            wanted: tokens to choose, sinks and window included.
            sinks: first tokens that are always chosen.
            window: newest tokens that are always chosen.
            chunk: tokens of a program, a power of two; by default so that the GPU is filled.

        Raises:
            BadInput: shapes, types, strides, or more sinks and window than tokens wanted.
        """
        if codes.dim() != 3:
            raise BadInput(f"Expected codes of shape [B, H, capacity], got {list(codes.shape)}.")
        batch, heads, capacity = codes.shape
        whole("codes", codes, torch.int32, (batch, heads, None))
        whole("lengths", lengths, torch.int32, (batch,))
        whole("planes", planes, planes.dtype, (heads, None, BITS))
        one_device(planes, codes, lengths)
        if capacity % MULTIPLE:
            raise BadInput(f"Expected room for a multiple of {MULTIPLE} tokens, got {capacity}.")
        if planes.dtype not in DTYPES:
            raise BadInput(f"Expected planes of bfloat16, float16 or float32, got {planes.dtype}.")
        room = Room.of(batch, heads, capacity, wanted, sinks, window, BINS, chunk, codes.device)
        masks = torch.empty(batch * heads, 1 + MOST_DIGITS, dtype=torch.int32, device=codes.device)
        return Hamming(lengths, sinks, window, room, planes, codes, masks)

    def __call__(self, query: torch.Tensor, checked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Args:
            query: contiguous, of the type of the planes, of groups of up to 255.
            checked: also look at the lengths, which waits for the device.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous; with `checked` also lengths.
        """
        batch, heads, capacity = self.codes.shape
        width = self.planes.shape[1]
        whole_query(query, self.planes.dtype, (batch, heads, width), self.codes)
        group, units = query.shape[2], batch * heads
        if group >= 1 << MOST_DIGITS:
            raise BadInput(f"Expected groups of up to {(1 << MOST_DIGITS) - 1} query heads, got {group}.")
        if checked:
            within(self.lengths, capacity)
        steps = group // 2 if group % 2 == 0 else group
        digits = steps.bit_length()
        launch(
            prepare,
            (units,),
            query,
            self.planes,
            self.codes,
            self.lengths,
            self.masks,
            self.room.frames,
            capacity,
            self.ids.shape[2],
            self.sinks,
            self.window,
            UNITS=heads,
            GROUP=group,
            GROUP_PADDED=max(16, power_of_two(group)),
            WIDTH=width,
            WIDTH_PADDED=power_of_two(width),
            DIGITS=digits,
            LEVELS=1 << (BITS * steps + 1).bit_length(),
            SAMPLE=SAMPLE,
            OVERLAP=overlaps(query.device),
            num_warps=4,
            **options(query.device),
        )
        launch(
            tally,
            self.room.grid,
            self.codes,
            self.lengths,
            self.masks,
            self.room.frames,
            self.room.bins,
            self.room.tallies,
            capacity,
            self.sinks,
            self.window,
            UNITS=heads,
            DIGITS=digits,
            CHUNK=self.room.chunk,
            CHUNKS=self.room.grid[0],
            OVERLAP=overlaps(query.device),
            num_warps=4,
            **options(query.device),
        )
        return self.room.emit(self.lengths)


def encode(vectors: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Bits of vectors [B, H, m, d] by planes [H, d, 32], as int32 [B, H, m]: for keys, when they are stored."""
    positive = (vectors.float() @ planes.float()) > 0
    places = torch.ones(BITS, dtype=torch.int64, device=vectors.device) << torch.arange(BITS, device=vectors.device)
    return (positive * places).sum(dim=-1).to(torch.int32)
