"""Selection by sums of table entries, for any codes: what product quantisation and soft collisions share.

After a query's tables: where a token has many codes, all tokens' distances; a frame around the threshold from a sample,
bins of all tokens, ids. No token left out is better than one chosen by a bin, `resolution`, or more. Each further pass
bins all tokens anew inside of the bin of the threshold, 32 times as finely, until a bin is 1 wide and the choice exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import within
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.tables_kernel import bracket, narrow, score, tally
from vevolve.kernels.select.threshold import MOST_TALLIES, Room, Selection

BINS = 64
SAMPLE = 2048
GAIN = 32767
"""The greatest entry of a table."""
FEW, SMALL = 8, 2048
"""Most codes of a token, side by side, and entries of all their tables, with which distances are not kept."""
MOST_BLOCK, EACH_WARP = 4096, 512
"""Tokens of a program that scores tokens by many codes, and of each of its warps: 16 bytes at once for a thread."""
COUNTERS = 8
"""Warps of a program that sorts tokens into bins."""
FINDERS = 8
"""Warps of the program that finds a frame."""
LEAST_CHUNK, MOST_CHUNK, PROGRAMS = 2048, 4096, 1024
"""Tokens of a program that sorts tokens into bins, and programs of which there should not be fewer."""


@dataclass(frozen=True)
class Tables(Selection):
    """The selection of one layer by tables.

    Attributes:
        codes: uint8 [B, H, capacity, parts], or [B, H, parts, capacity] where planar.
        high: uint8 [B, H, parts / 4, capacity], two more bits of four codes; None: codes have eight.
        norms: [B, H, capacity], by which a token's sum is multiplied; None: by 1.
        tables: int16 [units, parts, entries], the gains of the last query, 0 to 32767.
        scores: int32 [B, H, capacity], the distance of each token; None: few codes, of which it is reckoned anew.
        planar: the layout of codes.
        passes: over all tokens.
    """

    codes: torch.Tensor
    high: torch.Tensor | None
    norms: torch.Tensor | None
    tables: torch.Tensor
    scores: torch.Tensor | None
    planar: bool
    passes: int

    @property
    def resolution(self) -> torch.Tensor:
        """How wide a bin of the last call was, int32 [B, H], in steps of the tables; 1: the choice was exact."""
        return (1 << self.room.frames[:, 1]).view(self.counts.shape)

    def choose(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose by `tables`; returns `ids` and `counts`, which the next call overwrites."""
        room, wanted, heads = self.room, self.ids.shape[2], self.ids.shape[1]
        units, parts, entries = self.tables.shape
        capacity, chunks, device = self._capacity, room.grid[0], self.codes.device
        if self.scores is not None:
            self._score(self.scores)
        read = self.codes if self.scores is None else self.scores
        follows: dict[str, Any] = {"OVERLAP": overlaps(device), **options(device)}
        layout: dict[str, Any] = {
            "UNITS": heads,
            "PARTS": parts,
            "ENTRIES": entries,
            "SCORED": self.scores is not None,
            "BINS": BINS,
            **follows,
        }
        launch(
            bracket,
            (units,),
            read,
            self.tables,
            self.lengths,
            room.frames,
            capacity,
            wanted,
            self.sinks,
            self.window,
            SAMPLE=SAMPLE,
            BITS=31 if self.norms is not None else (parts * GAIN).bit_length(),
            num_warps=FINDERS,
            **layout,
        )
        for number in range(self.passes):
            if number:
                launch(
                    narrow,
                    (units,),
                    room.tallies,
                    self.lengths,
                    room.frames,
                    wanted,
                    UNITS=heads,
                    CHUNKS=chunks,
                    CHUNKS_PADDED=power_of_two(chunks),
                    BINS=BINS,
                    num_warps=4,
                    **follows,
                )
            launch(
                tally,
                room.grid,
                read,
                self.tables,
                self.lengths,
                room.frames,
                room.bins,
                room.tallies,
                capacity,
                self.sinks,
                self.window,
                CHUNK=room.chunk,
                CHUNKS=chunks,
                EACH=max(1, min(16 if self.scores is not None else 16 // parts, room.chunk // (32 * COUNTERS))),
                num_warps=COUNTERS,
                **layout,
            )
        return room.emit(self.lengths)

    @property
    def _capacity(self) -> int:
        return self.codes.shape[3] if self.planar else self.codes.shape[2]

    def _score(self, scores: torch.Tensor) -> None:
        """Write all tokens' distances."""
        units, parts, entries = self.tables.shape
        device = self.codes.device
        words = self.planar and self._capacity % 4 == 0
        kind = torch.int32 if words else torch.uint8
        codes = self.codes.view(kind)
        block = min(self.room.chunk, MOST_BLOCK)
        launch(
            score,
            (-(-self._capacity // block), units),
            codes,
            codes if self.high is None else self.high.view(kind),
            self.tables,
            codes if self.norms is None else self.norms,
            scores,
            self._capacity,
            PARTS=parts,
            ENTRIES=entries,
            PLANAR=self.planar,
            HIGH=self.high is not None,
            WORDS=words,
            NORMED=self.norms is not None,
            BLOCK=block,
            OVERLAP=overlaps(device),
            num_warps=max(1, block // EACH_WARP),
            **options(device),
        )

    def check_content(self) -> None:
        """Codes, norms and lengths. Reads from the device, so it waits for it.

        Raises:
            BadInput: a code beyond the tables, a norm that is negative or not finite, or a length beyond the capacity.
        """
        entries = self.tables.shape[2]
        if self.high is None and int(self.codes.max()) >= entries:
            raise BadInput(f"Expected codes of 0 to {entries - 1}, got {int(self.codes.max())}.")
        if self.norms is not None and not bool((self.norms.isfinite() & (self.norms >= 0)).all()):
            raise BadInput("Expected norms that are finite and not negative, got others.")
        within(self.lengths, self._capacity)


def room_for(
    batch: int, heads: int, capacity: int, wanted: int, sinks: int, window: int, chunk: int | None, codes: torch.Tensor
) -> Room:
    """The room of a selection by tables. Raises BadInput as `Room.of` does."""
    if chunk is None:
        chunk = max(LEAST_CHUNK, min(MOST_CHUNK, power_of_two(batch * heads * capacity // PROGRAMS)))
        chunk = max(chunk, power_of_two(-(-capacity * BINS // MOST_TALLIES)))
    return Room.of(batch, heads, capacity, wanted, sinks, window, BINS, chunk, codes.device)


def kept(parts: int, entries: int) -> bool:
    """Whether distances by codes that lie side by side are reckoned once and kept."""
    return parts > FEW or power_of_two(parts) != parts or parts * entries > SMALL
