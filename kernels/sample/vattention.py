"""vAttention's whole step (Desai et al. 2025, arXiv:2510.05688): a verified sample of what a predictor left out.

    I_f = the predictor's tokens (sinks, window, heavy ones),  R = the others,  P: a pilot of R,  S: a sample of R - P
    out = sum_i exp(s_i - log p_i) v_i / sum_i exp(s_i - log p_i),  p = 1 on I_f and P,  |S| / |R - P| on S.

Every launch has the same shape whatever is chosen; counts and sizes stay on the device, so that the step is captured in
a graph, and each replay draws anew.

*The sample.* Token i has a number u_i, uniform in [0, 2^32), from a generator of counters (Philox 4x32-10 of seed,
unit and token). P are the tokens of R with u < a; S those with a <= u < b, where a is known beforehand and b depends on
P and its keys and values alone. Given P, the numbers of R - P are independent of each other and uniform in [a, 2^32),
hence independent of b: each token enters S by itself with one probability, and given also the size of S, every subset
of that size is equally likely. So for any f, with m = |R - P|,

    E[ m / |S| sum_S f | P, |S| ] = sum_{R - P} f    for |S| >= 1,

and numerator and denominator are unbiased. S is empty although tokens are left with probability (1 - w / m)^m < exp(-w)
for an expected size w: below 2e-14 at the least size of 32. It is drawn without replacement from the true residual; the
pilot is read, so it is kept for sure, and being no part of S it does not tie the estimate to the size.

*The size.* By the central limit lemma for a finite population of m, for a sum to stay within tau of the truth but for
probability delta: b >= m / (1 + (tau / (z S))^2 / m), z = Phi^-1(1 - delta / 2), S^2 = Var(w) or Tr Var(w v), all from
the pilot; tau is a share of the denominator or of the numerator's norm, see `promises`. A group shares the largest
sample that one of its heads needs, at least as large as the pilot. The size of S varies around its mean, so three
standard deviations are added to that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vevolve.errors import BadInput
from vevolve.kernels.attend.attend import Workspace, attend, workspace_for
from vevolve.kernels.attend.merge_kernel import INTERPRETED
from vevolve.kernels.cache import Cache, one_device, whole
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.sample.promises import MODES, promised
from vevolve.kernels.sample.residual_kernel import draw, mark, place
from vevolve.kernels.sample.size_kernel import measure, size

STRETCHES = 32
"""Of 128 tokens, for one program of `draw`."""
MARKED = 256
"""Tokens that a program of `mark` takes."""
MOST_SPLITS = 64


class Predictor(Protocol):
    """What chooses I_f, such as `Hamming`, `Product` or `Collisions`: distinct tokens, captured in a graph or not."""

    @property
    def ids(self) -> torch.Tensor:
        """int32 [B, H, wanted]."""
        ...

    def __call__(self, query: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and counts int32 [B, H] for queries [B, H, G, d]."""
        ...


@dataclass(frozen=True)
class VAttention:
    """The step of one layer, with the room that it needs; captured in a graph, it may be replayed.

    Attributes:
        seed: int64 [1], of the next call's numbers. Each call adds 1, a replay too.
        ids: int32 [B, H, room], what was attended to: I_f, then the pilot, then the sample.
        log_prob: float32 [B, H, room], the logarithm of each one's inclusion probability.
        counts: int32 [B, H], how many of `ids` are meant.
        pilots: int32 [B, H], tokens of the pilot.
        sizes: int32 [B, H], tokens that the sample needed, which it has but for one time in a thousand.
        short: int32 [B, H], 1 where `ids` had no room for as many: there the promise is not kept.
    """

    cache: Cache
    predictor: Predictor
    share: int
    least: int
    seed: torch.Tensor
    ids: torch.Tensor
    log_prob: torch.Tensor
    counts: torch.Tensor
    chosen: torch.Tensor
    pilots: torch.Tensor
    sizes: torch.Tensor
    short: torch.Tensor
    promises: torch.Tensor
    marks: torch.Tensor
    drawn: torch.Tensor
    tallies: torch.Tensor
    ends: torch.Tensor
    tops: torch.Tensor
    sums: torch.Tensor
    vectors: torch.Tensor
    workspace: Workspace

    @staticmethod
    def of(
        cache: Cache,
        predictor: Predictor,
        group: int,
        epsilon: float,
        delta: float,
        mode: str = "output",
        *,
        pilot: float = 0.1,
        least: int = 32,
        room: int | None = None,
        seed: int = 0,
        splits: int | None = None,
    ) -> VAttention:
        """Prepare the step.

        Args:
            cache: the layer's keys and values.
            predictor: chooses what is kept for sure.
            group: query heads for each KV head.
            epsilon: relative error that is promised, above 0.
            delta: probability with which it may be broken, between 0 and 1.
            mode: what is promised: "denominator", "numerator" or "output".
            pilot: share of the residual that is read to estimate variances.
            least: tokens of the pilot and of the sample at least, where there are as many; 2 or more.
            room: tokens that can be attended to for each KV head; by default as many as the cache holds.
            seed: of the first call.
            splits: programs that share a unit's pilot.

        Raises:
            BadInput: the cache, numbers out of range, or too little room for the predictor and the pilot.
        """
        cache.check()
        if mode not in MODES:
            raise BadInput(f"Expected a mode out of {', '.join(MODES)}, got {mode!r}.")
        if not (epsilon > 0 and 0 < delta < 1 and 0 <= pilot <= 1) or least < 2 or group < 1:
            raise BadInput(
                "Expected epsilon > 0, delta in (0, 1), a pilot share in [0, 1], at least 2 tokens and one query head, "
                f"got {epsilon}, {delta}, {pilot}, {least} and {group}."
            )
        batch, heads, wanted = predictor.ids.shape
        if (batch, heads) != (cache.batch, cache.heads):
            raise BadInput(
                f"Expected a predictor for {cache.batch} sequences of {cache.heads} KV heads, got {batch} of {heads}."
            )
        if not wanted:
            raise BadInput("Expected a predictor of at least one token, got one of none.")
        one_device(cache.keys, predictor.ids)
        capacity = cache.page * (1 if cache.table is None else cache.table.shape[1])
        room = capacity if room is None else room
        tried = max(pilot * capacity, least)
        enough = min(capacity, int(wanted + tried + 6 * tried**0.5 + least))
        if not enough <= room <= capacity:
            raise BadInput(
                f"Expected room for {enough} to {capacity} tokens, so that {wanted} chosen ones and a pilot of about "
                f"{int(tried)} fit, got {room}."
            )
        place = cache.keys.device
        units, width = batch * heads, cache.width
        if splits is None:
            splits = _splits(units, min(enough, room), place)

        def ints(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=place)

        def floats(*shape: int) -> torch.Tensor:
            return torch.empty(shape, device=place)

        ids = ints(batch, heads, room)
        words = -(-capacity // 32)
        query = torch.empty(batch, heads, group, width, dtype=cache.keys.dtype, device=place)
        return VAttention(
            cache,
            predictor,
            share=round(pilot * 65536),
            least=least,
            seed=torch.tensor([seed], dtype=torch.int64, device=place),
            ids=ids,
            log_prob=floats(batch, heads, room),
            counts=ints(batch, heads),
            chosen=ints(batch, heads),
            pilots=ints(batch, heads),
            sizes=ints(batch, heads),
            short=ints(batch, heads),
            promises=torch.tensor(promised(mode, epsilon, delta), device=place),
            marks=ints(units, words),
            drawn=ints(units, words),
            tallies=ints(units, -(-words // (4 * STRETCHES))),
            ends=torch.zeros(units, 2, dtype=torch.int64, device=place),
            tops=floats(units, splits, group),
            sums=floats(units, splits, 4, group),
            vectors=floats(units, splits, 2, group, width),
            workspace=workspace_for(query, cache, ids),
        )

    def __call__(self, query: torch.Tensor, checked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend from queries [B, H, G, d], contiguous and of the cache's type.

        Args:
            query: the queries.
            checked: also look at what was chosen, which waits for the device. Else an id outside of the sequence is
                left out, and one that is given twice counts twice.

        Returns:
            out [B, H, G, d] and the natural logarithm of the denominator, float32 [B, H, G].

        Raises:
            BadInput: the query's shape or type, or it is not contiguous; with `checked` also ids out of range or twice.
        """
        group = self.tops.shape[2]
        whole("query", query, self.cache.keys.dtype, (self.cache.batch, self.cache.heads, group, self.cache.width))
        ids, counts = self.predictor(query)
        if checked:
            self._check_chosen(ids, counts)
        self._mark(ids, counts)
        self._draw(counts, pilot=True)
        self._size(query, counts)
        self._draw(counts, pilot=False)
        self.seed.add_(1)
        return attend(
            query, self.cache, self.ids, self.log_prob, self.counts, workspace=self.workspace, checked=checked
        )

    def _mark(self, ids: torch.Tensor, counts: torch.Tensor) -> None:
        units, wanted = counts.numel(), ids.shape[2]
        _launch(
            mark,
            (-(-wanted // MARKED), units),
            ids,
            counts,
            self.marks,
            self.ids,
            self.log_prob,
            wanted,
            self.ids.shape[2],
            self.marks.shape[1],
            BLOCK=MARKED,
        )

    def _draw(self, counts: torch.Tensor, pilot: bool) -> None:
        chunks, heads = self.tallies.shape[1], self.cache.heads
        _launch(
            draw,
            (chunks, counts.numel()),
            self.seed,
            self.marks,
            self.cache.lengths,
            counts,
            self.ends,
            self.drawn,
            self.tallies,
            self.marks.shape[1],
            self.share,
            self.least,
            UNITS=heads,
            PILOT=pilot,
            STRETCHES=STRETCHES,
            CHUNKS=chunks,
        )
        _launch(
            place,
            (chunks, counts.numel()),
            self.drawn,
            self.tallies,
            counts,
            self.pilots,
            self.cache.lengths,
            self.ids,
            self.log_prob,
            self.counts,
            self.short,
            self.ids.shape[2],
            self.marks.shape[1],
            UNITS=heads,
            PILOT=pilot,
            WORDS=4 * STRETCHES,
            CHUNKS=chunks,
            CHUNKS_PADDED=power_of_two(chunks),
        )

    def _size(self, query: torch.Tensor, counts: torch.Tensor) -> None:
        cache, (units, splits, group) = self.cache, self.tops.shape
        _launch(
            measure,
            (splits, units),
            query,
            cache.keys,
            cache.values,
            self.ids,
            counts,
            self.pilots,
            cache.lengths,
            cache.lengths if cache.table is None else cache.table,
            self.tops,
            self.sums,
            self.vectors,
            cache.width**-0.5,
            self.ids.shape[2],
            splits,
            *(cache.keys.stride(axis) for axis in range(3)),
            *(cache.values.stride(axis) for axis in range(3)),
            0 if cache.table is None else cache.table.stride(0),
            UNITS=cache.heads,
            ROWS=group,
            WIDTH=cache.width,
            PAGE=1 if cache.table is None else cache.page,
            PAGED=cache.table is not None,
            PRECISION="ieee" if query.dtype == torch.float32 else "tf32",
            WIDTH_PADDED=power_of_two(cache.width),
            ROWS_PADDED=max(16, power_of_two(group)),
            BLOCK=32,
            WIDEN=INTERPRETED and query.dtype == torch.bfloat16,
        )
        _launch(
            size,
            (units,),
            self.tops,
            self.sums,
            self.vectors,
            counts,
            self.pilots,
            cache.lengths,
            self.promises,
            self.ends,
            self.sizes,
            self.short,
            self.ids.shape[2],
            self.least,
            splits,
            UNITS=cache.heads,
            ROWS=group,
            WIDTH=cache.width,
            PROMISES=len(self.promises),
            PROMISES_PADDED=power_of_two(len(self.promises)),
            SPLITS_PADDED=power_of_two(splits),
            WIDTH_PADDED=power_of_two(cache.width),
        )

    def _check_chosen(self, ids: torch.Tensor, counts: torch.Tensor) -> None:
        for b, length in enumerate(self.cache.lengths.tolist()):
            for h in range(self.cache.heads):
                found = ids[b, h, : int(counts[b, h])]
                if len(found) and not 0 <= int(found.min()) <= int(found.max()) < length:
                    words = f"{int(found.min())} to {int(found.max())}"
                    raise BadInput(f"Expected the predictor's ids in 0 to {length - 1} at {[b, h]}, got {words}.")
                if len(set(found.tolist())) != len(found):
                    raise BadInput(f"Expected distinct ids of the predictor, got some twice at {[b, h]}.")


def _splits(units: int, listed: int, device: torch.device) -> int:
    if device.type != "cuda":
        return 2
    cores = torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(MOST_SPLITS, 2 * cores // units, listed // 32))


def _launch(kernel: Callable[..., Any], grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:
    device = arguments[0].device
    launch(kernel, grid, *arguments, **named, OVERLAP=overlaps(device), num_warps=4, **options(device))
