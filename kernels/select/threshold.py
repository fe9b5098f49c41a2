"""The room in which a selection finds its threshold, and the launch that turns bins into ids."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.threshold_kernel import emit

LEAST_CHUNK, MOST_CHUNK = 1024, 4096
MOST_TALLIES = 8192
"""Tallies of a unit, which every program of `emit` adds up."""
CHUNKS = 32, 32768
"""Least and greatest tokens of a program: those of a word, and what is counted in 16 bits."""


def chunk_for(tokens: int) -> int:
    """Tokens of a program by those of all units, a power of two. With few programs a GPU idles, and many in turn each
    begin anew: the square of what was fastest on an H200 was twice the number of tokens or a little more, from 262,144
    of these (1,024) over 1,048,576 and 2,097,152 (2,048) to 8,388,608 (4,096).
    """
    chunk = LEAST_CHUNK
    while chunk < MOST_CHUNK and chunk * chunk < 2 * tokens:
        chunk *= 2
    return chunk


@dataclass(frozen=True)
class Room:
    """What the launches of a selection leave for each other; one selection at a time may use it.

    Attributes:
        ids: int32 [B, H, wanted].
        counts: int32 [B, H].
        thresholds: int32 [B, H].
        misled: int32 [B, H].
        bins: int8 [units, chunks * chunk], the bin of each token.
        tallies: int32 [units, bins, chunks], how many tokens of a chunk are in each bin.
        frames: int32 [units, 2], the least distance inside of the frame, and the logarithm of a bin's width.
        chunk: tokens of a program.
    """

    ids: torch.Tensor
    counts: torch.Tensor
    thresholds: torch.Tensor
    misled: torch.Tensor
    bins: torch.Tensor
    tallies: torch.Tensor
    frames: torch.Tensor
    chunk: int

    @staticmethod
    def of(
        batch: int,
        heads: int,
        capacity: int,
        wanted: int,
        sinks: int,
        window: int,
        bins: int,
        chunk: int | None,
        device: torch.device,
    ) -> Room:
        """Room to choose `wanted` of `capacity` tokens.

        Raises:
            BadInput: more sinks and window than tokens wanted, none wanted, more tokens than there is room for, or a
                chunk that is no power of two.
        """
        if not 1 <= wanted <= capacity or min(sinks, window) < 0 or sinks + window > wanted:
            raise BadInput(
                f"Expected 1 to {capacity} tokens, sinks and window among them, got {wanted} with {sinks} and {window}."
            )
        units = batch * heads
        if chunk is None:
            chunk = chunk_for(units * capacity)
        if chunk & (chunk - 1) or not CHUNKS[0] <= chunk <= CHUNKS[1]:
            raise BadInput(f"Expected a chunk of a power of two of {CHUNKS[0]} to {CHUNKS[1]} tokens, got {chunk}.")
        chunks = -(-capacity // chunk)
        if chunks > MOST_TALLIES // bins:
            raise BadInput(f"Expected at most {MOST_TALLIES // bins * chunk} tokens of capacity, got {capacity}.")

        def room(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        return Room(
            ids=room(batch, heads, wanted),
            counts=room(batch, heads),
            thresholds=room(batch, heads),
            misled=room(batch, heads),
            bins=room(units, chunks * chunk, dtype=torch.int8),
            tallies=room(units, bins, chunks),
            frames=room(units, 2),
            chunk=chunk,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Programs of a pass over all tokens: chunks and units."""
        return self.tallies.shape[2], self.tallies.shape[0]

    def emit(self, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write and return `ids` and `counts` from bins and tallies."""
        chunks, bins = self.tallies.shape[2], self.tallies.shape[1]
        launch(
            emit,
            self.grid,
            self.bins.view(torch.int32),
            self.tallies,
            self.frames,
            lengths,
            self.ids,
            self.counts,
            self.thresholds,
            self.misled,
            self.ids.shape[2],
            UNITS=self.ids.shape[1],
            CHUNK=self.chunk,
            CHUNKS=chunks,
            CHUNKS_PADDED=power_of_two(chunks),
            BINS=bins,
            OVERLAP=overlaps(lengths.device),
            num_warps=4,
            **options(lengths.device),
        )
        return self.ids, self.counts


@dataclass(frozen=True)
class Selection:
    """The selection of one layer, with the room that it needs; captured in a graph, it may be replayed.

    Attributes:
        lengths: int32 [B], visible tokens.
        sinks: first tokens that are always chosen.
        window: newest tokens that are always chosen.
        room: for what the launches leave for each other.
    """

    lengths: torch.Tensor
    sinks: int
    window: int
    room: Room

    @property
    def ids(self) -> torch.Tensor:
        """The chosen tokens of the last call, int32 [B, H, wanted]."""
        return self.room.ids

    @property
    def counts(self) -> torch.Tensor:
        """How many of `ids` are meant, int32 [B, H]: all, or the whole of a shorter sequence."""
        return self.room.counts

    @property
    def thresholds(self) -> torch.Tensor:
        """The distance from which on tokens were chosen by their place, int32 [B, H], less a constant of the query."""
        return self.room.thresholds

    @property
    def misled(self) -> torch.Tensor:
        """1 where the sample missed the threshold by so much that what was chosen, though of the right number, need not
        be the best nor hold the newest tokens, int32 [B, H]. Happens to data laid out to cause it, and by bits where
        the sample holds one wanted token or none, see `hamming`.
        """
        return self.room.misled
