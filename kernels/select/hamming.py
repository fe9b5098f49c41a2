"""Tokens by 32 bits each: HashAttention's selection (Desai et al. 2024, arXiv:2412.14468) in two launches.

A token's score is the number of its bits that differ from those of the group's queries, summed over the group. Chosen
are sinks and window, then the lowest scores, the earliest first among equals. Query bits are the signs of 32 linear
maps, computed in the same launch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import one_device, whole
from vevolve.kernels.select.hamming_kernel import emit, tally

BITS = 32
SAMPLE = 1024
CHUNK = 4096
SMALL_CHUNK = 1024
MOST_CHUNKS = 1024


@dataclass(frozen=True)
class Hamming:
    """The selection of one layer, with the room that it needs; captured in a graph, it may be replayed.

    Attributes:
        ids: int32 [B, H, wanted], the chosen tokens of the last call.
        counts: int32 [B, H], how many of them are meant: all, or the whole of a shorter sequence.
        thresholds: int32 [B, H], the score of the last one chosen, less a constant of the query.
        misled: int32 [B, H], 1 where the sample missed the threshold by so much that what was chosen, though of the
            right number, need not be the best. Does not happen but to data laid out to cause it.
    """

    planes: torch.Tensor
    codes: torch.Tensor
    lengths: torch.Tensor
    sinks: int
    window: int
    ids: torch.Tensor
    counts: torch.Tensor
    thresholds: torch.Tensor
    misled: torch.Tensor
    bins: torch.Tensor
    tallies: torch.Tensor
    guesses: torch.Tensor
    chunk: int

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
            codes: int32 [B, H, capacity], the keys' bits, bit i in the i-th place.
            lengths: int32 [B], visible tokens.
            wanted: tokens to choose, sinks and window included.
            sinks: first tokens that are always chosen.
            window: newest tokens that are always chosen.
            chunk: tokens of a program; by default so that the GPU is filled.

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
        if not planes.is_floating_point():
            raise BadInput(f"Expected planes of a floating type, got {planes.dtype}.")
        if not 1 <= wanted <= capacity or min(sinks, window) < 0 or sinks + window > wanted:
            raise BadInput(
                f"Expected 1 to {capacity} tokens, sinks and window among them, got {wanted} with {sinks} and {window}."
            )
        units = batch * heads
        if chunk is None:
            chunk = CHUNK if units * capacity >= 256 * CHUNK else SMALL_CHUNK
        chunks = -(-capacity // chunk)
        if chunks > MOST_CHUNKS:
            raise BadInput(f"Expected at most {MOST_CHUNKS * chunk} tokens of capacity, got {capacity}.")
        place = codes.device

        def room(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=place)

        return Hamming(
            planes,
            codes,
            lengths,
            sinks,
            window,
            ids=room(batch, heads, wanted),
            counts=room(batch, heads),
            thresholds=room(batch, heads),
            misled=room(batch, heads),
            bins=room(units, chunks * chunk, dtype=torch.int8),
            tallies=room(units, 8, chunks),
            guesses=room(units),
            chunk=chunk,
        )

    def __call__(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous.
        """
        batch, heads, capacity = self.codes.shape
        width = self.planes.shape[1]
        whole("query", query, self.planes.dtype, (batch, heads, None, width))
        group, units = query.shape[2], batch * heads
        chunks = self.tallies.shape[2]
        steps = group // 2 if group % 2 == 0 else group
        tally[(chunks, units)](
            query,
            self.planes,
            self.codes,
            self.lengths,
            self.bins,
            self.tallies,
            self.guesses,
            capacity,
            self.ids.shape[2],
            self.sinks,
            self.window,
            UNITS=heads,
            GROUP=group,
            WIDTH=width,
            WIDTH_PADDED=1 << (width - 1).bit_length(),
            DIGITS=steps.bit_length(),
            LEVELS=1 << (BITS * steps + 1).bit_length(),
            SAMPLE=SAMPLE,
            CHUNK=self.chunk,
            CHUNKS=chunks,
            num_warps=4,
        )
        emit[(chunks, units)](
            self.bins,
            self.tallies,
            self.guesses,
            self.lengths,
            self.ids,
            self.counts,
            self.thresholds,
            self.misled,
            self.ids.shape[2],
            UNITS=heads,
            CHUNK=self.chunk,
            CHUNKS=chunks,
            CHUNKS_PADDED=1 << (chunks - 1).bit_length(),
            num_warps=4,
        )
        return self.ids, self.counts


def encode(vectors: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Bits of vectors [B, H, m, d] by planes [H, d, 32], as int32 [B, H, m]: for keys, when they are stored."""
    positive = (vectors.float() @ planes.float()) > 0
    places = torch.ones(BITS, dtype=torch.int64, device=vectors.device) << torch.arange(BITS, device=vectors.device)
    return (positive * places).sum(dim=-1).to(torch.int32)
