"""vAttention's whole step (Desai et al. 2025, arXiv:2510.05688): a verified sample of what a predictor left out.

    I_f = the predictor's tokens (sinks, window, heavy ones),  R = the others,  P: a pilot of R,  S: a sample of R - P
    out = sum_i exp(s_i - log p_i) v_i / sum_i exp(s_i - log p_i),  p = 1 on I_f and P,  |S| / |R - P| on S.

Every launch has the same shape whatever is chosen; counts and sizes stay on the device, so that the step is captured in
a graph, and each replay draws anew.

*The sample.* Token i has a number u_i, uniform in [0, 2^12), from a generator of counters (Philox 4x32-10 of seed, unit
and token). P are the tokens of R with u < a; S those with a <= u < b, where a is known beforehand and b depends on P
and its keys and values alone. Given P, the numbers of R - P are independent of each other and uniform in [a, 2^12),
hence independent of b: each token enters S by itself with one probability, and given also the size of S, every subset
of that size is equally likely. So for any f, with m = |R - P|,

    E[ m / |S| sum_S f | P, |S| ] = sum_{R - P} f    for |S| >= 1,

and numerator and denominator are unbiased, however coarse the numbers are: a and b are rounded up to one of 2^12, which
takes at most 1 in 4096 tokens more. S is empty although tokens are left with probability (1 - w / m)^m < exp(-w) for an
expected size w: below 2e-14 at the least size of 32. It is drawn without replacement from the true residual; the pilot
is read, so it is kept for sure, and being no part of S it does not tie the estimate to the size.

*The size.* By the central limit lemma for a finite population of m, for a sum to stay within tau of the truth but for
probability delta: b >= m / (1 + (tau / (z S))^2 / m), z = Phi^-1(1 - delta / 2), S^2 = Var(w) or Tr Var(w v), all from
the pilot; tau is a share of the denominator or of the numerator's norm, see `promises`. A group shares the largest
sample that one of its heads needs, at least as large as the pilot. The size of S varies around its mean, so three
standard deviations are added to that.

*The launches.* Four follow the predictor's: the pilot is drawn; I_f and P are attended to, which also tells the size;
the sample is drawn; it is attended to and what I_f and P gave is added, so that no key or value is read twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from vevolve.errors import BadInput
from vevolve.kernels.attend import tuning
from vevolve.kernels.attend.attend import Workspace, compiled_for
from vevolve.kernels.attend.tuning import Choice
from vevolve.kernels.cache import Cache, one_device, whole
from vevolve.kernels.launch import cores, launch, options, overlaps, power_of_two
from vevolve.kernels.sample.conclude_kernel import conclude
from vevolve.kernels.sample.naive import DIGITS, NUMBERS
from vevolve.kernels.sample.promises import MODES, promised
from vevolve.kernels.sample.residual_kernel import draw
from vevolve.kernels.sample.size_kernel import measure

LEAST_WORDS, MOST_WORDS = 256, 512
"""Of 32 tokens, for one program of `draw`, a word for each thread."""
REGISTERS = 1 << 14
"""Of such a program: a multiprocessor holds four, so that all of them run at once."""
MOST_LISTED = 4096
"""Chosen tokens that a program of `draw` looks at a time."""
UNPROMISED = 1e30
"""Share of a sum that it may be off by, where nothing is promised."""
MOST_MERGED = 64
"""Vectors that are merged at a time."""


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
    group: int
    share: int
    least: int
    seed: torch.Tensor
    ids: torch.Tensor
    log_prob: torch.Tensor
    counts: torch.Tensor
    pilots: torch.Tensor
    sizes: torch.Tensor
    short: torch.Tensor
    promises: torch.Tensor
    marks: torch.Tensor
    tallies: torch.Tensor
    ends: torch.Tensor
    stats: torch.Tensor
    vectors: torch.Tensor
    arrivals: torch.Tensor
    workspace: Workspace
    words: int
    choices: tuple[Choice, Choice]

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
        choices: tuple[Choice, Choice] | None = None,
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
            choices: block, splits, warps and stages for what is kept for sure, and for the sample; by default what was
                tuned for attention to lists of about their lengths.

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
        capacity = cache.capacity
        room = capacity if room is None else room
        tried = max(pilot * capacity, least) + capacity / NUMBERS
        enough = min(capacity, int(wanted + tried + 6 * tried**0.5 + least))
        if not enough <= room <= capacity:
            raise BadInput(
                f"Expected room for {enough} to {capacity} tokens, so that {wanted} chosen ones and a pilot of about "
                f"{int(tried)} fit, got {room}."
            )
        place = cache.keys.device
        units, width, lines = batch * heads, cache.width, 2 * power_of_two(group)
        if choices is None:
            sure, drawn = (_choice(cache, units, group, min(int(count), capacity)) for count in (wanted + tried, tried))
            # With what is kept for sure, as many slots as a power of two.
            choices = sure, replace(drawn, splits=max(1, power_of_two(drawn.splits) - 1))
        if min(choice.splits for choice in choices) < 1:
            raise BadInput(f"Expected at least one split, got {choices[0].splits} and {choices[1].splits}.")
        shares = [
            [error / z if z else UNPROMISED for error, z in (line[:2], line[2:])]
            for line in promised(mode, epsilon, delta)
        ]
        words = -(-capacity // 32)
        part = _words(units * words, place)

        def ints(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=place)

        def floats(*shape: int) -> torch.Tensor:
            return torch.empty(shape, device=place)

        return VAttention(
            cache,
            predictor,
            group=group,
            share=round(pilot * 65536),
            least=least,
            seed=torch.tensor([seed], dtype=torch.int64, device=place),
            ids=ints(batch, heads, room),
            log_prob=floats(batch, heads, room),
            counts=ints(batch, heads),
            pilots=ints(batch, heads),
            sizes=ints(batch, heads),
            short=ints(batch, heads),
            promises=torch.tensor(shares, device=place),
            marks=ints(units, words),
            tallies=ints(2, units, -(-words // part)),
            ends=ints(units, 2),
            stats=floats(units, choices[0].splits, 4, lines),
            vectors=floats(units, choices[0].splits, lines, width),
            arrivals=ints(units),
            workspace=Workspace.of(units, group, width, choices[1].splits + 1, place),
            words=part,
            choices=choices,
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
            BadInput: shape or type of the query or of what was chosen, or it is not contiguous; with `checked` also
                ids out of range or twice, and counts beyond the list.
        """
        cache, group = self.cache, self.group
        whole("query", query, cache.keys.dtype, (cache.batch, cache.heads, group, cache.width))
        one_device(query, cache.keys)
        ids, counts = self.predictor(query)
        whole("the predictor's ids", ids, torch.int32, (cache.batch, cache.heads, None))
        whole("the predictor's counts", counts, torch.int32, (cache.batch, cache.heads))
        one_device(query, ids, counts)
        if checked:
            cache.check_content()
            self._check_chosen(ids, counts)
        out, lse = torch.empty_like(query), torch.empty(query.shape[:3], device=query.device)
        self._draw(ids, counts, pilot=True)
        self._measure(query, counts)
        self._draw(ids, counts, pilot=False)
        self._conclude(query, counts, out, lse)
        return out, lse

    def _draw(self, ids: torch.Tensor, counts: torch.Tensor, pilot: bool) -> None:
        _, units, chunks = self.tallies.shape
        threads = max(LEAST_WORDS, self.words)
        _launch(
            draw,
            (chunks, units),
            self.seed,
            ids,
            counts,
            self.cache.lengths,
            self.marks,
            self.ends,
            self.tallies,
            self.pilots,
            self.counts,
            self.short,
            self.ids,
            self.log_prob,
            ids.shape[2],
            self.ids.shape[2],
            self.marks.shape[1],
            self.share,
            self.least,
            DIGITS // 4,
            UNITS=self.cache.heads,
            PILOT=pilot,
            WORDS=self.words,
            CHUNKS=chunks,
            CHUNKS_PADDED=power_of_two(chunks),
            LISTED=min(MOST_LISTED, power_of_two(ids.shape[2])),
            COPIED=min(MOST_LISTED // 4, power_of_two(-(-ids.shape[2] // chunks))),
            num_warps=threads // 32,
            maxnreg=REGISTERS // threads,
        )

    def _measure(self, query: torch.Tensor, counts: torch.Tensor) -> None:
        choice, room = self.choices[0], self.workspace
        lines = self.stats.shape[3]
        _launch(
            measure,
            (choice.splits, counts.numel()),
            query,
            self.cache.keys,
            self.cache.values,
            self.ids,
            counts,
            self.pilots,
            self.cache.lengths,
            self.cache.looked_up,
            self.promises,
            self.stats,
            self.vectors,
            self.arrivals,
            self.ends,
            self.sizes,
            self.short,
            room.partial,
            room.stats,
            room.arrivals,
            self.cache.width**-0.5,
            self.ids.shape[2],
            self.least,
            choice.splits,
            self.choices[1].splits + 1,
            *self.cache.strides,
            UNITS=self.cache.heads,
            ROWS=self.group,
            **compiled_for(query, self.cache, choice),
            ROWS_MERGED=lines // 2,
            LINES_PADDED=max(16, lines),
            PROMISES=len(self.promises),
            PROMISES_PADDED=power_of_two(len(self.promises)),
            MERGED=min(power_of_two(choice.splits), max(1, MOST_MERGED // lines)),
        )

    def _conclude(self, query: torch.Tensor, counts: torch.Tensor, out: torch.Tensor, lse: torch.Tensor) -> None:
        choice, room, group = self.choices[1], self.workspace, self.group
        slots = power_of_two(choice.splits + 1)
        _launch(
            conclude,
            (choice.splits, counts.numel()),
            query,
            self.cache.keys,
            self.cache.values,
            self.ids,
            self.log_prob,
            counts,
            self.pilots,
            self.counts,
            self.cache.lengths,
            self.cache.looked_up,
            self.seed,
            room.partial,
            room.stats,
            room.arrivals,
            out,
            lse,
            self.cache.width**-0.5,
            self.ids.shape[2],
            choice.splits,
            *self.cache.strides,
            UNITS=self.cache.heads,
            ROWS=self.group,
            **compiled_for(query, self.cache, choice),
            SLOTS_PADDED=slots,
            ROWS_PADDED=max(16, power_of_two(group)),
            ROWS_MERGED=power_of_two(group),
            MERGED=min(slots, max(1, MOST_MERGED // power_of_two(group))),
        )

    def _check_chosen(self, ids: torch.Tensor, counts: torch.Tensor) -> None:
        least, most = int(counts.min()), int(counts.max())
        if least < 0 or most > ids.shape[2]:
            raise BadInput(f"Expected the predictor's counts in 0 to {ids.shape[2]}, got {least} to {most}.")
        for b, length in enumerate(self.cache.lengths.tolist()):
            for h in range(self.cache.heads):
                found = ids[b, h, : int(counts[b, h])]
                if len(found) and not 0 <= int(found.min()) <= int(found.max()) < length:
                    words = f"{int(found.min())} to {int(found.max())}"
                    raise BadInput(f"Expected the predictor's ids in 0 to {length - 1} at {[b, h]}, got {words}.")
                if len(set(found.tolist())) != len(found):
                    raise BadInput(f"Expected distinct ids of the predictor, got some twice at {[b, h]}.")


def _choice(cache: Cache, units: int, group: int, listed: int) -> Choice:
    """What was tuned for attention to lists of this length."""
    device, query = cache.keys.device, torch.empty(1, 1, group, cache.width, dtype=cache.keys.dtype)
    key = tuning.shape_class(query.to(device), units, group, listed, 1, cache.table is not None, False)
    return tuning.choose(key, units, listed, device)


def _words(words: int, device: torch.device) -> int:
    """Words of a program of `draw`, so that each multiprocessor gets two or more, if that is enough."""
    if device.type != "cuda":
        return 4
    return max(LEAST_WORDS, min(MOST_WORDS, power_of_two(words // (2 * cores(device)))))


def _launch(kernel: Callable[..., Any], grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:
    device = arguments[0].device
    launch(kernel, grid, *arguments, **named, OVERLAP=overlaps(device), **options(device))
