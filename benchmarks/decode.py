"""One decode step of one layer on an NVIDIA GPU: our kernels against PyTorch's SDPA and FlashInfer on the same tensors.

python benchmarks/decode.py [--rounds 30] [--json FILE] [--only 8x131072]

Every contestant is captured in a CUDA graph of its own. Each call has a new query and new ids, the L2 cache is flushed
before it, outputs are poisoned and every timed answer is checked. Contestants are asked in turn in random order; what
is printed is the median time on the device with its 95 % bootstrap interval, and the ratio of FlashInfer's (else
SDPA's) time to it, round by round. The device sleeps while a call is enqueued, so that the host's time is not in it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vevolve.kernels.timing import Timing, time_in_turn
from vevolve.kernels.timing_figures import ratio_interval

HEADS, GROUP, WIDTH, PAGE = 8, 4, 128, 16
SHAPES = ((1, 32768), (1, 131072), (8, 32768), (8, 131072))
SHARES = (0.10, 0.05, 0.02)
ALLOWED = 1e-2
"""Relative L2 error of an output."""
CLEAR = 1e-4
"""The least distance of a query from a plane."""
SLEEP = 200_000
"""Cycles of the device, about a tenth of a millisecond."""
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
        from vevolve.kernels.attend.attend import attend
        from vevolve.kernels.cache import Cache
        from vevolve.kernels.select.hamming import BITS, Hamming, encode
        from vevolve.kernels.select.pages import Pages, corners

        self.batch, self.n, self.attend = batch, n, attend
        self.rng = torch.Generator(device="cuda").manual_seed(seed)
        shape = (batch * n // PAGE, PAGE, HEADS, WIDTH)
        keys, values = (self._normal(shape) for _ in range(2))
        lengths = torch.full((batch,), n, dtype=torch.int32, device="cuda")
        table = torch.arange(batch * n // PAGE, dtype=torch.int32, device="cuda").view(batch, -1)
        self.paged = Cache(keys, values, lengths, table)
        self.whole = Cache(*(t.view(batch, n, HEADS, WIDTH) for t in (keys, values)), lengths)
        self.query = self._normal((batch, HEADS, GROUP, WIDTH))
        self.ids = {share: self._ids(round(share * n)) for share in SHARES}
        self.log_prob = {share: torch.empty(ids.shape, device="cuda") for share, ids in self.ids.items()}
        planes = self._normal((HEADS, WIDTH, BITS))
        codes = torch.stack([encode(self.whole.keys[b].transpose(0, 1), planes) for b in range(batch)])
        self.packed: Any = None
        lower, upper = corners(self.whole.keys.transpose(1, 2))
        pages = round(0.02 * n / PAGE)
        self.pages = Pages.of(lower.contiguous(), upper.contiguous(), lengths, pages, PAGE)
        self.hamming = Hamming.of(planes, codes, lengths, round(0.02 * n), sinks=4, window=64)
        self.contestants: dict[str, Contestant] = {}

    def _normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self.rng, device="cuda", dtype=torch.bfloat16)

    def _ids(self, count: int) -> torch.Tensor:
        """One token out of each of `count` equal stretches, [B, H, count]: distinct and in order."""
        drawn = torch.rand(self.batch, HEADS, count, generator=self.rng, device="cuda", dtype=torch.float64)
        return ((torch.arange(count, device="cuda") + drawn) * (self.n / count)).int().clamp_(max=self.n - 1)

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

    def add(self, name: str, kind: str, call: Callable[[], torch.Tensor], bytes_read: float) -> None:
        """Capture a call in a graph."""
        call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = call()
        self.contestants[name] = Contestant(kind, graph.replay, out, bytes_read, call)

    def fresh(self, _: int) -> Question:
        """A new query, ids and probabilities, in the tensors that the graphs read; outputs are poisoned."""
        self.query.copy_(self._normal(tuple(self.query.shape)))
        while self._sides().abs().min() < CLEAR:  # a bit that rounding decides would make a right answer look wrong
            self.query.copy_(self._normal(tuple(self.query.shape)))
        for share, ids in self.ids.items():
            ids.copy_(self._ids(ids.shape[-1]))
            self.log_prob[share].uniform_(0.1, 1.0, generator=self.rng).log_()
        for contestant in self.contestants.values():
            contestant.out.fill_(torch.nan if contestant.out.is_floating_point() else -7)
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
        if answer.kind not in question:
            question[answer.kind] = self._truth(answer.kind)
        truth = question[answer.kind]
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
        if kind.endswith("bits"):
            keys, values = self.packed.unpack()
            return torch.stack([(query[b] @ keys[b].mT).softmax(-1) @ values[b] for b in range(self.batch)])
        if kind == "selected pages":
            first = self.pages.ids.long()[..., None] * PAGE + torch.arange(PAGE, device="cuda")
            ids, weight = first.flatten(2), torch.zeros((), device="cuda")
        elif kind == "selected":
            ids, weight = self._best(), torch.zeros((), device="cuda")
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

    def _sides(self) -> torch.Tensor:
        """On which side of each plane the queries lie, and how far, [B, H, G, 32]."""
        return torch.einsum("bhgd,hdi->bhgi", self.query.double(), self.hamming.planes.double())

    def _best(self) -> torch.Tensor:
        """The selection by a stable sort of all scores, in order of place."""
        select = self.hamming
        signs = self._sides() > 0
        score = torch.zeros(self.batch, HEADS, self.n, dtype=torch.int32, device="cuda")
        for bit in range(32):
            score += ((select.codes >> bit & 1).bool()[:, :, None] ^ signs[..., bit, None]).sum(
                dim=2, dtype=torch.int32
            )
        score[..., : select.sinks] = -1
        score[..., self.n - select.window :] = -1
        wanted = select.ids.shape[-1]
        # Among equals the earliest block of 32 and in it by (token mod 4, token), as the kernel has it.
        order = torch.arange(self.n, device="cuda").view(-1, 8, 4).transpose(1, 2).flatten()
        best = score[..., order].sort(dim=-1, stable=True).indices[..., :wanted]
        return order[best].sort(dim=-1).values


def enlist(step: Step) -> None:
    """All contestants of a shape."""
    batch, n = step.batch, step.n
    everything = float(n * step.row)

    def ours(cache: Any, share: float | None) -> Callable[[], torch.Tensor]:
        if share is None:
            room = step.workspace(cache, None)
            return lambda: step.attend(step.query, cache, workspace=room)[0]
        ids, log_prob = step.ids[share], step.log_prob[share]
        room = step.workspace(cache, ids)
        return lambda: step.attend(step.query, cache, ids, log_prob, workspace=room)[0]

    def sdpa() -> torch.Tensor:
        keys, values = (t.transpose(1, 2) for t in (step.whole.keys, step.whole.values))
        query = step.query.view(batch, HEADS * GROUP, 1, WIDTH)
        attended = torch.nn.functional.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
        return attended.reshape(step.query.shape)

    step.add("PyTorch SDPA", "dense", sdpa, everything)
    if (infer := flashinfer(step)) is not None:
        step.add("FlashInfer", "dense", infer, everything)
    step.add("ours, all tokens, paged", "dense", ours(step.paged, None), everything)
    for share in SHARES:
        count = step.ids[share].shape[-1]
        read = float(count * step.row + count * batch * HEADS * 8)
        step.add(f"attend {share:.0%}", str(share), ours(step.whole, share), read)
        step.add(f"attend {share:.0%}, paged", str(share), ours(step.paged, share), read)
    wanted = step.hamming.ids.shape[-1]
    codes = float(batch * HEADS * n * 4)

    def select() -> torch.Tensor:
        return step.hamming(step.query)[0]

    def both(cache: Any) -> Callable[[], torch.Tensor]:
        room = step.workspace(cache, step.hamming.ids)

        def call() -> torch.Tensor:
            ids, counts = step.hamming(step.query)
            return step.attend(step.query, cache, ids, counts=counts, workspace=room)[0]

        return call

    def pages() -> torch.Tensor:
        return step.pages(step.query)[0]

    grained = step.grained(step.paged)

    def both_pages() -> torch.Tensor:
        ids, counts = step.pages(step.query)
        found: torch.Tensor = step.attend(step.query, step.paged, ids, counts=counts, grain=PAGE, workspace=grained)[0]
        return found

    from vevolve.kernels.codecs.packed import Packed

    keys, values = (t.transpose(1, 2) for t in (step.whole.keys, step.whole.values))
    step.packed = Packed.of(keys, values, 4)
    room = step.packed.workspace(step.query)

    def packed() -> torch.Tensor:
        found: torch.Tensor = step.packed.attend(step.query, step.whole.lengths, workspace=room)[0]
        return found

    bits = step.packed.bits_per_element
    step.add(f"all tokens at {bits} bits", "4 bits", packed, everything * bits / 16)
    bounds = everything / PAGE
    step.add("select 2% by page bounds", "pages", pages, bounds)
    step.add("select + attend 2%, pages", "selected pages", both_pages, bounds + 0.02 * everything)
    scores = step.query.new_empty(batch, HEADS, n).normal_(generator=step.rng)
    step.add("torch.topk of ready scores 2%", "any ids", lambda: scores.topk(wanted, sorted=False).indices, 0.0)
    step.add("select 2% by 32 bits", "ids", select, codes)
    step.add("select + attend 2%", "selected", both(step.whole), codes + wanted * step.row)
    step.add("select + attend 2%, paged", "selected", both(step.paged), codes + wanted * step.row)


def flashinfer(step: Step) -> Callable[[], torch.Tensor] | None:
    """FlashInfer's paged decode with tensor cores on the same pages; None where it is not installed."""
    try:
        import flashinfer as library  # type: ignore[import-not-found]
    except ImportError as error:
        print(f"FlashInfer is not installed ({error}): ratios are to SDPA.", file=sys.stderr)
        return None
    batch, pages = step.batch, step.n // PAGE
    room = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    starts = torch.arange(batch + 1, dtype=torch.int32, device="cuda") * pages
    table = step.paged.table
    assert table is not None
    last = torch.full((batch,), PAGE, dtype=torch.int32, device="cuda")
    plan = library.BatchDecodeWithPagedKVCacheWrapper(
        room,
        "NHD",
        use_cuda_graph=True,
        use_tensor_cores=True,
        paged_kv_indptr_buffer=starts.clone(),
        paged_kv_indices_buffer=table.flatten().clone(),
        paged_kv_last_page_len_buffer=last.clone(),
    )
    kind = torch.bfloat16
    plan.plan(starts, table.flatten(), last, HEADS * GROUP, HEADS, WIDTH, PAGE, q_data_type=kind, kv_data_type=kind)
    query = step.query.view(batch, HEADS * GROUP, WIDTH)
    return lambda: plan.run(query, (step.paged.keys, step.paged.values)).view(step.query.shape)


class OnTheDevice:
    """A `Timer` by the device's events, behind a sleep in which the host enqueues all of the call.

    Flushing by writing leaves a cache full of lines that whoever reads next must wait to see written back, 50 MB of
    them on an H200. So a buffer is read first: the cache is as cold, and clean.
    """

    def __init__(self) -> None:
        size = 4 * torch.cuda.get_device_properties(0).L2_cache_size
        self._clean = torch.randint(256, (size,), dtype=torch.uint8, device="cuda").view(torch.int64)

    def __call__(self, call: Callable[[], Contestant]) -> tuple[Contestant, float]:
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._clean.amax()
        torch.cuda._sleep(SLEEP)
        start.record()
        answer = call()
        stop.record()
        stop.synchronize()
        return answer, start.elapsed_time(stop) / 1e3


def asked(contestant: Contestant) -> Callable[[Question], Contestant]:
    """A contestant as `time_in_turn` asks it."""

    def ask(_: Question) -> Contestant:
        contestant.replay()
        return contestant

    return ask


def measure(batch: int, n: int, rounds: int, shared: dict[str, Any]) -> dict[str, Any]:
    """The table of one shape: name -> median, interval, ratio with interval, multiple of the byte floor."""
    step = Step(batch, n)
    enlist(step)
    timings = time_in_turn(
        {name: asked(contestant) for name, contestant in step.contestants.items()},
        step.fresh,
        step.check,
        rounds=rounds,
        quiet=shared["quiet"],
        bytes_moved=lambda _, contestant: contestant.bytes_read,
        roofline=shared["roofline"],
        timer=shared["timer"],
    )
    base = "FlashInfer" if "FlashInfer" in timings and timings["FlashInfer"].counts else "PyTorch SDPA"
    found = {}
    for name, timing in timings.items():
        found[name] = row(timing, timings[base], step.contestants[name].bytes_read, shared["roofline"].measured)
    return {"base": base, "rows": found}


def row(timing: Timing, base: Timing, bytes_read: float, rate: float) -> dict[str, Any]:
    """The figures of a contestant, as they are written and printed."""
    if timing.faults:
        return {"fault": timing.faults[0]}
    median = timing.median
    found: dict[str, Any] = {
        "us": [round(1e6 * value, 2) for value in (median.low, median.middle, median.high)],
        "floor_us": round(1e6 * bytes_read / rate, 2),
        "suspect": timing.suspect,
    }
    if base.counts:
        ratio = ratio_interval(base.seconds, timing.seconds)
        found["ratio"] = [round(value, 2) for value in (ratio.low, ratio.middle, ratio.high)]
    return found


def show(batch: int, n: int, table: dict[str, Any]) -> None:
    """Print the table of one shape as Markdown."""
    print(f"\nB = {batch}, {n // 1024}k tokens ({table['base']} = 1)\n")
    print("| | us | 95 % | times faster | 95 % | byte floor us | x floor |\n|---|---|---|---|---|---|---|")
    for name, found in table["rows"].items():
        if "fault" in found:
            print(f"| {name} | FAULT: {found['fault']} | | | | | |")
            continue
        low, middle, high = found["us"]
        ratio = found.get("ratio", [float("nan")] * 3)
        floor = found["floor_us"]
        times = f"{middle / floor:.2f}" if floor else ""
        mark = " SUSPECT" if found["suspect"] else ""
        faster = f"{ratio[1]:.2f} | {ratio[0]:.2f} to {ratio[2]:.2f}"
        line = f"| {name}{mark} | {middle:.1f} | {low:.1f} to {high:.1f} | {faster} | {floor:.1f} | {times} |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--only", help="one shape, such as 8x131072")
    asked_for = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/decode.py needs an NVIDIA GPU; none is here, so nothing was measured.")
        return
    from vevolve.kernels import timing_device

    conditions = timing_device.conditions()
    with timing_device.alone(conditions["uuid"]):
        shared: dict[str, Any] = {"roofline": timing_device.roofline(), "timer": OnTheDevice()}
        shared["quiet"] = timing_device.Quiet()
        rate = shared["roofline"].measured / 1e12
        print("; ".join(f"{key} {value}" for key, value in conditions.items() if key != "uuid"))
        print(f"reading at {rate:.2f} TB/s; bf16, {HEADS * GROUP} query and {HEADS} KV heads, d = {WIDTH}, page {PAGE}")
        written: dict[str, Any] = {"conditions": conditions, "read_TB_s": rate, "shapes": {}}
        for batch, n in SHAPES:
            if asked_for.only and asked_for.only != f"{batch}x{n}":
                continue
            torch.cuda.empty_cache()
            table = measure(batch, n, asked_for.rounds, shared)
            show(batch, n, table)
            written["shapes"][f"{batch}x{n}"] = table
            if asked_for.json:
                asked_for.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
