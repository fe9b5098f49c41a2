"""Selection by sums of table entries, for any codes: what product quantisation and soft collisions share.

Three launches after a query's tables: a frame around the threshold from a sample, bins of all tokens, ids. No token
left out is better than one chosen by a bin, `resolution`, or more. Each further pass bins all tokens anew inside of the
bin of the threshold, 32 times as finely, until a bin is 1 wide and the choice exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vevolve.errors import BadInput
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.tables_kernel import bracket, narrow, tally
from vevolve.kernels.select.threshold import Room, Selection

BINS = 64
SAMPLE = 2048
GAIN = 32767
"""The greatest entry of a table."""


@dataclass(frozen=True)
class Tables(Selection):
    """The selection of one layer by tables.

    Attributes:
        codes: uint8 [B, H, capacity, parts], or [B, H, parts, capacity] where planar.
        high: uint8 [B, H, parts / 4, capacity], two more bits of four codes; None: codes have eight.
        norms: [B, H, capacity], by which a token's sum is multiplied; None: by 1.
        tables: int16 [units, parts, entries], the gains of the last query, 0 to 32767.
        planar: the layout of codes.
        passes: over all tokens.
    """

    codes: torch.Tensor
    high: torch.Tensor | None
    norms: torch.Tensor | None
    tables: torch.Tensor
    planar: bool
    passes: int

    @property
    def resolution(self) -> torch.Tensor:
        """How wide a bin of the last call was, int32 [B, H], in steps of the tables; 1: the choice was exact."""
        return (1 << self.room.frames[:, 1]).view(self.counts.shape)

    def choose(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose by `tables`; returns `ids` and `counts`, which the next call overwrites."""
        units, parts, entries = self.tables.shape
        capacity = self.codes.shape[3] if self.planar else self.codes.shape[2]
        chunks, device = self.room.grid[0], self.codes.device
        none = self.codes
        read = (
            self.codes,
            none if self.high is None else self.high,
            self.tables,
            none if self.norms is None else self.norms,
        )
        layout: dict[str, Any] = {
            "UNITS": self.ids.shape[1],
            "PARTS": parts,
            "ENTRIES": entries,
            "PLANAR": self.planar,
            "HIGH": self.high is not None,
            "NORMED": self.norms is not None,
            "BINS": BINS,
            "OVERLAP": overlaps(device),
            "num_warps": 4,
            **options(device),
        }
        room, wanted = self.room, self.ids.shape[2]
        launch(bracket, (units,), *read, self.lengths, room.frames, capacity, wanted, SAMPLE=SAMPLE, **layout)
        for number in range(self.passes):
            if number:
                launch(
                    narrow,
                    (units,),
                    room.tallies,
                    self.lengths,
                    room.frames,
                    wanted,
                    UNITS=self.ids.shape[1],
                    CHUNKS=chunks,
                    CHUNKS_PADDED=power_of_two(chunks),
                    BINS=BINS,
                    OVERLAP=overlaps(device),
                    num_warps=4,
                    **options(device),
                )
            launch(
                tally,
                room.grid,
                *read,
                self.lengths,
                room.frames,
                room.bins,
                room.tallies,
                capacity,
                self.sinks,
                self.window,
                CHUNK=room.chunk,
                CHUNKS=chunks,
                **layout,
            )
        return room.emit(self.lengths)

    def check_content(self) -> None:
        """Codes against the tables. Reads from the device, so it waits for it.

        Raises:
            BadInput: a code beyond the tables, or a norm that is negative or not finite.
        """
        entries = self.tables.shape[2]
        if self.high is None and int(self.codes.max()) >= entries:
            raise BadInput(f"Expected codes of 0 to {entries - 1}, got {int(self.codes.max())}.")
        if self.norms is not None and not bool((self.norms.isfinite() & (self.norms >= 0)).all()):
            raise BadInput("Expected norms that are finite and not negative, got others.")
        longest = self.codes.shape[3] if self.planar else self.codes.shape[2]
        if int(self.lengths.min()) < 1 or int(self.lengths.max()) > longest:
            words = f"{int(self.lengths.min())} to {int(self.lengths.max())}"
            raise BadInput(f"Expected lengths of 1 to {longest} tokens, got {words}.")


def room_for(
    batch: int, heads: int, capacity: int, wanted: int, sinks: int, window: int, chunk: int | None, codes: torch.Tensor
) -> Room:
    """The room of a selection by tables. Raises BadInput as `Room.of` does."""
    return Room.of(batch, heads, capacity, wanted, sinks, window, BINS, chunk, codes.device)
