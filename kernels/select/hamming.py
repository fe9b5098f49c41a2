"""Tokens by 32 bits each: HashAttention's selection (Desai et al. 2024, arXiv:2412.14468), in one launch or two.

A token's score is the number of its bits that differ from those of the group's queries, summed over the group. Chosen
are sinks and window, then the lowest scores; among equals the earliest. Query bits are the signs of 32 linear maps,
computed in the same launch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import one_device, whole
from vevolve.kernels.launch import cores, launch, options, overlaps, power_of_two
from vevolve.kernels.select.hamming_kernel import choose
from vevolve.kernels.select.threshold import Room, Selection

BITS = 32
BINS = 8
SAMPLE = 1024
BLOCK = 2048
"""Tokens that a program scores at a time."""
WARPS, RESIDENT = 4, 4
"""Of a program, and programs for which a multiprocessor has room: registers are limited to that."""
LEAST_CHUNK, MOST_CHUNK = 1024, 32768
"""Tokens of a program: so many that its start pays, and so few that sixteen bits count them."""
MOST_LISTED = 4096
"""Tokens below the edge that a program sorts at a time."""
MULTIPLE = 16
"""Tokens, of which a capacity is a multiple, so that codes are fetched four at a time."""


@dataclass(frozen=True)
class Hamming(Selection):
    """The selection of one layer by bits.

    Attributes:
        planes: [H, d, 32].
        codes: int32 [B, H, capacity].
        edges: int32 [units], a little above the threshold.
        words: int32 [units, chunks, chunk / 32], one bit a token: whether it is below the edge.
        listed: int32 [units, chunks, any], so many of these at a time.
        arrivals: int64 [units], where programs meet.
    """

    planes: torch.Tensor
    codes: torch.Tensor
    edges: torch.Tensor
    words: torch.Tensor
    listed: torch.Tensor
    arrivals: torch.Tensor

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
            chunk: tokens of a program, a power of two from 32 to 32768; by default so that all run at once.

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
        if chunk is not None and (chunk & (chunk - 1) or not 32 <= chunk <= MOST_CHUNK):
            raise BadInput(f"Expected chunks of a power of two from 32 to {MOST_CHUNK} tokens, got {chunk}.")
        if capacity % MULTIPLE:
            raise BadInput(f"Expected room for a multiple of {MULTIPLE} tokens, got {capacity}.")
        if not planes.is_floating_point():
            raise BadInput(f"Expected planes of a floating type, got {planes.dtype}.")
        chunk = chunk or _chunk(batch * heads, capacity, codes.device)
        room = Room.of(batch, heads, capacity, wanted, sinks, window, BINS, chunk, codes.device, by_token=False)
        units, chunks, device = batch * heads, room.grid[0], codes.device
        # Of a chunk three times as many as are wanted of it are below the edge, if tokens are spread evenly.
        most = min(MOST_LISTED, max(256, power_of_two(3 * wanted * chunk // capacity)), chunk)
        return Hamming(
            lengths,
            sinks,
            window,
            room,
            planes,
            codes,
            edges=torch.empty(units, dtype=torch.int32, device=device),
            words=torch.empty(units, chunks, chunk // 32, dtype=torch.int32, device=device),
            listed=torch.empty(units, chunks, most, dtype=torch.int32, device=device),
            arrivals=torch.zeros(units, dtype=torch.int64, device=device),
        )

    @property
    def at_once(self) -> bool:
        """Whether all programs of a launch run at the same time, so that one launch does it all."""
        chunks, units = self.room.grid
        return chunks * units <= RESIDENT * cores(self.codes.device)

    def __call__(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous.
        """
        batch, heads, _ = self.codes.shape
        whole("query", query, self.planes.dtype, (batch, heads, None, self.planes.shape[1]))
        if self.at_once:
            self._launch(query, count=True, emit=True)
        else:
            self._launch(query, count=True, emit=False)
            self._launch(query, count=False, emit=True)
        return self.ids, self.counts

    def _launch(self, query: torch.Tensor, count: bool, emit: bool) -> None:
        room, capacity = self.room, self.codes.shape[2]
        group, width = query.shape[2:]
        steps = group // 2 if group % 2 == 0 else group
        # A launch whose programs wait for each other is refused by the driver unless all of them can run at once.
        how = {"launch_cooperative_grid": True} if count and emit else options(query.device)
        launch(
            choose,
            room.grid,
            query,
            self.planes,
            self.codes,
            self.lengths,
            self.edges,
            self.words,
            self.listed,
            room.tallies,
            self.arrivals,
            self.ids,
            self.counts,
            self.thresholds,
            self.misled,
            capacity,
            self.ids.shape[2],
            self.sinks,
            self.window,
            UNITS=self.ids.shape[1],
            GROUP=group,
            GROUP_PADDED=max(16, power_of_two(group)),
            WIDTH=width,
            WIDTH_PADDED=power_of_two(width),
            DIGITS=steps.bit_length(),
            LEVELS=1 << (BITS * steps + 1).bit_length(),
            SAMPLE=SAMPLE,
            CHUNK=room.chunk,
            CHUNKS=room.grid[0],
            CHUNKS_PADDED=power_of_two(room.grid[0]),
            BLOCK=min(BLOCK, room.chunk),
            LISTED=self.listed.shape[2],
            COUNT=count,
            EMIT=emit,
            OVERLAP=overlaps(query.device),
            num_warps=WARPS,
            maxnreg=65536 // (32 * WARPS * RESIDENT),
            **how,
        )


def _chunk(units: int, capacity: int, device: torch.device) -> int:
    """Tokens of a program: so few that the GPU is filled, so many that all programs run at once."""
    chunk = LEAST_CHUNK
    while chunk < MOST_CHUNK and units * -(-capacity // chunk) > RESIDENT * cores(device):
        chunk *= 2
    return chunk


def encode(vectors: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Bits of vectors [B, H, m, d] by planes [H, d, 32], as int32 [B, H, m]: for keys, when they are stored."""
    positive = (vectors.float() @ planes.float()) > 0
    places = torch.ones(BITS, dtype=torch.int64, device=vectors.device) << torch.arange(BITS, device=vectors.device)
    return (positive * places).sum(dim=-1).to(torch.int32)
