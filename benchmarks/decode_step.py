"""The tensors of one decode step, what is computed on them by whom, and what the right answers are, for `decode.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vevolve.kernels.attend.attend import attend
from vevolve.kernels.cache import Cache
from vevolve.kernels.codecs.packed import Packed
from vevolve.kernels.codecs.rotated import Rotated, codebook, rotation
from vevolve.kernels.sample.vattention import VAttention
from vevolve.kernels.select import collisions, naive, product
from vevolve.kernels.select.collisions import Collisions
from vevolve.kernels.select.hamming import BITS, Hamming, encode
from vevolve.kernels.select.pages import Pages, corners
from vevolve.kernels.select.product import Product
from vevolve.kernels.select.tables import GAIN

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEADS, GROUP, WIDTH, PAGE = 8, 4, 128, 16
WINDOW, TABLES = 64, 60
SHARES = (0.10, 0.05, 0.02)
PROMISE, PILOT = (0.1, 0.1), 0.01
"""vAttention's (epsilon, delta), and the share of the residual that its pilot reads."""
LEAN = 8.2
"""Length of what heavy keys and all queries share: a logit of 8.2 ** 2 / 128 ** 0.5, about 6."""
ALLOWED = 1e-2
"""Relative L2 error of an output."""
CLEAR = 1e-4
"""The least distance of a query from a plane."""
Question = dict[str, Any]


@dataclass
class Contestant:
    """A graph to replay: what it computes (its `kind` names the reference), where its answer lies, what it reads."""

    kind: str
    replay: Callable[[], object]
    out: torch.Tensor
    bytes_read: float
    call: Callable[[], torch.Tensor]
    """Keeps what the graph reads alive."""


class Step:
    """The tensors of one shape, and the contestants on them."""

    def __init__(self, batch: int, n: int, seed: int = 0) -> None:
        self.batch, self.n, self.attend = batch, n, attend
        self.rng = torch.Generator(device=DEVICE).manual_seed(seed)
        shape = (batch * n // PAGE, PAGE, HEADS, WIDTH)
        keys, values = (self._normal(shape) for _ in range(2))
        lengths = torch.full((batch,), n, dtype=torch.int32, device=DEVICE)
        table = torch.arange(batch * n // PAGE, dtype=torch.int32, device=DEVICE).view(batch, -1)
        self.paged = Cache(keys, values, lengths, table)
        self.whole = Cache(*(t.view(batch, n, HEADS, WIDTH) for t in (keys, values)), lengths)
        self.query = self._normal((batch, HEADS, GROUP, WIDTH))
        self.ids = {share: self._ids(round(share * n)) for share in SHARES}
        self.log_prob = {share: torch.empty(ids.shape, device=DEVICE) for share, ids in self.ids.items()}
        planes = self._normal((HEADS, WIDTH, BITS))
        codes = torch.stack([encode(self.whole.keys[b].transpose(0, 1), planes) for b in range(batch)])
        lower, upper = corners(self.whole.keys.transpose(1, 2))
        pages = round(0.02 * n / PAGE)
        self.pages = Pages.of(lower.contiguous(), upper.contiguous(), lengths, pages, PAGE)
        self.hamming = Hamming.of(planes, codes, lengths, round(0.02 * n), sinks=4, window=WINDOW)
        self.product = self._product()
        self.collisions = self._collisions()
        self.packed = Packed.of(*self._by_head(), 4)
        spin = rotation(WIDTH, torch.Generator().manual_seed(seed)).to(DEVICE)
        self.rotated = Rotated.of(*self._by_head(), spin, codebook(4, WIDTH).to(DEVICE))
        self.peaks = Peaks(self)
        self.contestants: dict[str, Contestant] = {}

    def _by_head(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.whole.keys.transpose(1, 2), self.whole.values.transpose(1, 2)

    def _product(self) -> Product:
        """12 bits a token, PQCache's."""
        books = self._normal((HEADS, 2, 64, WIDTH // 2))
        keys = self._by_head()[0]
        codes = torch.cat([product.encode(keys[b : b + 1], books) for b in range(self.batch)])
        return Product.of(books, codes, self.whole.lengths, round(0.02 * self.n), sinks=4, window=WINDOW)

    def _collisions(self) -> Collisions:
        """600 bits a token, SOCKET's."""
        planes, keys = self._normal((TABLES * 10, WIDTH)), self._by_head()[0]
        pairs = [collisions.encode(keys[b : b + 1], planes, TABLES) for b in range(self.batch)]
        low, high = (torch.cat([pair[place] for pair in pairs]) for place in range(2))
        return Collisions.of(planes, low, high, self.whole.lengths, round(0.02 * self.n), sinks=4, window=WINDOW)

    def _normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self.rng, device=DEVICE, dtype=torch.bfloat16)

    def _ids(self, count: int) -> torch.Tensor:
        """One token out of each of `count` equal stretches, [B, H, count]: distinct and in order."""
        drawn = torch.rand(self.batch, HEADS, count, generator=self.rng, device=DEVICE, dtype=torch.float64)
        return ((torch.arange(count, device=DEVICE) + drawn) * (self.n / count)).int().clamp_(max=self.n - 1)

    @property
    def row(self) -> int:
        """Bytes of a token's key and value in all sequences and heads."""
        return self.batch * HEADS * 2 * WIDTH * 2

    def workspace(self, cache: Any, ids: torch.Tensor | None) -> Any:
        from vevolve.kernels.attend.attend import workspace_for

        return workspace_for(self.query, cache, ids)

    def grained(self, cache: Any) -> Any:
        from vevolve.kernels.attend.attend import workspace_for

        return workspace_for(self.query, cache, self.pages.ids, PAGE)

    def add(self, name: str, kind: str, call: Callable[[], torch.Tensor], bytes_read: float | None = None) -> None:
        """Capture a call in a graph. Without bytes_read, what it reads is what vAttention's first draw took."""
        call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = call()
            replay: Callable[[], object] = graph.replay
        else:  # for a trial run of the rows where nothing is timed
            out = torch.empty_like(call())

            def replay() -> None:
                out.copy_(call())

        read = self.peaks.bytes_read() if bytes_read is None else bytes_read
        self.contestants[name] = Contestant(kind, replay, out, read, call)

    def fresh(self, _: int) -> Question:
        """A new query, ids and probabilities, in the tensors that the graphs read; outputs are poisoned."""
        self.query.copy_(self._normal(tuple(self.query.shape)))
        while self._sides().abs().min() < CLEAR:  # a bit that rounding decides would make a right answer look wrong
            self.query.copy_(self._normal(tuple(self.query.shape)))
        for share, ids in self.ids.items():
            ids.copy_(self._ids(ids.shape[-1]))
            self.log_prob[share].uniform_(0.1, 1.0, generator=self.rng).log_()
        self.peaks.fresh()
        for contestant in self.contestants.values():
            contestant.out.fill_(torch.nan if contestant.out.is_floating_point() else -7)
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return {}

    def check(self, question: Question, answer: Contestant) -> str:
        """Compare with float32 arithmetic on the same tokens."""
        if answer.kind == "ids":
            truth = question.setdefault("ids", self._best())
            found = answer.out.long().sort(dim=-1).values
            return "" if torch.equal(found, truth) else f"{int((found != truth).sum())} tokens differ"
        if answer.kind == "any ids":
            return ""
        if answer.kind == "pages":
            return self._pages_wrong()
        if answer.kind in ("product", "collisions"):
            return self._tables_wrong(self.product if answer.kind == "product" else self.collisions)
        if answer.kind == "sampled" and (wrong := self.peaks.wrong()):
            return wrong
        if answer.kind not in question:
            question[answer.kind] = self._truth(answer.kind)
        truth = question.pop(answer.kind) if answer.kind == "sampled" else question[answer.kind]
        error = float(((answer.out.float() - truth).norm(dim=-1) / truth.norm(dim=-1)).max())
        return "" if error < ALLOWED else f"relative error {error:.3g}"

    def _truth(self, kind: str) -> torch.Tensor:
        query = self.query.float() * WIDTH**-0.5
        if kind == "dense":
            found = []
            for b in range(self.batch):
                keys, values = (t[b].transpose(0, 1).float() for t in (self.whole.keys, self.whole.values))
                found.append((query[b] @ keys.mT).softmax(-1) @ values)
            return torch.stack(found)
        if kind == "sampled":
            return self.peaks.truth()
        if kind.endswith("bits"):
            keys, values = self.packed.unpack() if kind == "4 bits" else self.rotated.unpack()
            keys, values = keys[:, :, : self.n], values[:, :, : self.n]
            return torch.stack([(query[b] @ keys[b].mT).softmax(-1) @ values[b] for b in range(self.batch)])
        if kind == "selected pages":
            first = self.pages.ids.long()[..., None] * PAGE + torch.arange(PAGE, device=DEVICE)
            ids, weight = first.flatten(2), torch.zeros((), device=DEVICE)
        elif kind == "selected":
            ids, weight = self._best(), torch.zeros((), device=DEVICE)
        elif kind in ("selected product", "selected collisions"):
            select = self.product if kind == "selected product" else self.collisions
            ids, weight = select.ids.long(), torch.zeros((), device=DEVICE)
        else:
            share = float(kind)
            ids, weight = self.ids[share].long(), self.log_prob[share][:, :, None]
        place = ids[..., None].expand(*ids.shape, WIDTH)
        keys, values = (t.transpose(1, 2).gather(2, place).float() for t in (self.whole.keys, self.whole.values))
        return (query @ keys.mT - weight).softmax(-1) @ values

    def _pages_wrong(self) -> str:
        """Whether a page that was left out scores higher than one that was chosen by more than rounding."""
        select, query = self.pages, self.query.float()
        scores = (query.clamp(min=0) @ select.upper.float().mT + query.clamp(max=0) @ select.lower.float().mT).amax(2)
        scores[..., 0] = scores[..., -1] = torch.inf
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(2, select.ids.long(), True)
        if not bool((chosen.sum(-1) == select.ids.shape[-1]).all()):
            return "pages were chosen twice"
        lead = scores.masked_fill(chosen, -torch.inf).amax(-1) - scores.masked_fill(~chosen, torch.inf).amin(-1)
        return "" if float(lead.max()) < 1e-2 else f"a page was left out that leads by {float(lead.max()):.3g}"

    def _tables_wrong(self, select: Product | Collisions) -> str:
        """Whether tables are wrong, or a token left out is better by their sums than a chosen one by a bin or more."""
        shape = (self.batch, HEADS, *select.tables.shape[1:])
        tables = select.tables.view(shape)
        off = float((tables - self._gains(select)).abs().max())
        if not off <= 1:
            return f"an entry of a table is off by {off:.3g}"
        lack = torch.zeros(self.batch, HEADS, self.n, dtype=torch.int32, device=DEVICE)
        for part in range(shape[2]):
            codes = select.codes[:, :, part] if select.planar else select.codes[..., part]
            codes = codes.long()
            if select.high is not None:
                codes += (select.high[:, :, part // 4].long() >> 2 * (part % 4) & 3) << 8
            lack -= tables[:, :, part].gather(2, codes)
        ids = select.ids.long()
        chosen = torch.zeros_like(lack, dtype=torch.bool).scatter_(2, ids, True)
        forced = torch.zeros(self.n, dtype=torch.bool, device=DEVICE)
        forced[: select.sinks] = forced[self.n - select.window :] = True
        if not bool((chosen.sum(-1) == ids.shape[-1]).all()) or not bool(chosen[..., forced].all()):
            return "tokens were chosen twice, or sinks and window left out"
        most = torch.iinfo(torch.int32).max
        worst = lack.masked_fill(~chosen | forced, -most).amax(-1)
        lead = worst - lack.masked_fill(chosen, most // 2).amin(-1)
        misled = select.misled.bool() | (lead < select.resolution)
        return "" if bool(misled.all()) else f"a token was left out that leads by {int(lead.max())}"

    def _gains(self, select: Product | Collisions) -> torch.Tensor:
        """The tables in float64, [B, H, parts, entries]."""
        query = self.query.double()
        if isinstance(select, Product):
            return naive.product_tables(query, select.codebooks)
        found = naive.soft_tables(query, select.planes, TABLES, select.tau)
        return found * (GAIN / (GROUP * select.likeliest))

    def _sides(self) -> torch.Tensor:
        """On which side of each plane the queries lie, and how far, [B, H, G, 32]."""
        return torch.einsum("bhgd,hdi->bhgi", self.query.double(), self.hamming.planes.double())

    def _best(self) -> torch.Tensor:
        """The selection by a stable sort of all scores, in order of place."""
        select = self.hamming
        signs = self._sides() > 0
        score = torch.zeros(self.batch, HEADS, self.n, dtype=torch.int32, device=DEVICE)
        for bit in range(32):
            score += ((select.codes >> bit & 1).bool()[:, :, None] ^ signs[..., bit, None]).sum(
                dim=2, dtype=torch.int32
            )
        score[..., : select.sinks] = -1
        score[..., self.n - select.window :] = -1
        wanted = select.ids.shape[-1]
        # Among equals the earliest block of 32 and in it by (token mod 4, token), as the kernel has it.
        order = torch.arange(self.n, device=DEVICE).view(-1, 8, 4).transpose(1, 2).flatten()
        best = score[..., order].sort(dim=-1, stable=True).indices[..., :wanted]
        return order[best].sort(dim=-1).values


class Peaks:
    """vAttention's step on data that it is for: half a percent of the tokens take most of the weight, the rest is flat.

    Those tokens' keys, and all queries, lean towards a direction of their head; values have a mean, without which no
    sample could hold a relative error of their sum.
    """

    def __init__(self, step: Step) -> None:
        self.step, shape = step, (step.batch, step.n, HEADS, WIDTH)
        self.lean = step._normal((HEADS, WIDTH)).float()
        self.lean *= LEAN / self.lean.norm(dim=-1, keepdim=True)
        keys, values = 0.25 * step._normal(shape), 0.5 + step._normal(shape)
        heavy = torch.rand(shape[:3], generator=step.rng, device=DEVICE) < 0.005
        keys += (heavy[..., None] * self.lean).to(keys.dtype)
        self.cache = Cache(keys, values, step.whole.lengths)
        self.query = torch.empty_like(step.query)
        self.fresh()
        planes = step._normal((HEADS, WIDTH, BITS))
        codes = torch.stack([encode(keys[b].transpose(0, 1), planes) for b in range(step.batch)])
        predictor = Hamming.of(planes, codes, self.cache.lengths, round(0.02 * step.n), sinks=4, window=WINDOW)
        self.sampled = VAttention.of(self.cache, predictor, GROUP, *PROMISE, pilot=PILOT)

    def fresh(self) -> None:
        """A new query in the tensor that the graph reads."""
        self.query.copy_(0.25 * self.step._normal(tuple(self.query.shape)) + self.lean[:, None])

    def bytes_read(self) -> float:
        """Of the last step: the codes, and each token that was chosen, of the pilot or of the sample, once."""
        return float(self.sampled.counts.sum()) * 4 * WIDTH + self.step.batch * HEADS * self.step.n * 4

    def wrong(self) -> str:
        """Whether the sample is too small for its promise."""
        step = self.sampled
        drawn = step.counts - step.pilots - step.predictor.ids.shape[2]
        return "" if bool((drawn >= 0.8 * step.sizes - 1).all()) else "the sample is much smaller than it should be"

    def truth(self) -> torch.Tensor:
        """Attention over what was drawn, with its probabilities."""
        most = int(self.sampled.counts.max())
        ids, logs = self.sampled.ids[..., :most].long(), self.sampled.log_prob[..., :most]
        live = torch.arange(most, device=DEVICE) < self.sampled.counts[..., None]
        place = ids.masked_fill(~live, 0)[..., None].expand(*ids.shape, WIDTH)
        keys, values = (t.transpose(1, 2).gather(2, place).float() for t in (self.cache.keys, self.cache.values))
        logits = (self.query.float() * WIDTH**-0.5) @ keys.mT - logs[:, :, None]
        return logits.masked_fill(~live[:, :, None], -torch.inf).softmax(-1) @ values
