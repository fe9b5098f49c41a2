"""Who is timed on a decode step, and what each reads, for `decode.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from decode_step import DEVICE, GROUP, HEADS, PAGE, SHARES, WIDTH, Step


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

    def over(predictor: Any, room: Any) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            ids, counts = predictor(step.query)
            return step.attend(step.query, step.whole, ids, counts=counts, workspace=room)[0]

        return call

    def pages() -> torch.Tensor:
        return step.pages(step.query)[0]

    grained = step.grained(step.paged)

    def both_pages() -> torch.Tensor:
        ids, counts = step.pages(step.query)
        found: torch.Tensor = step.attend(step.query, step.paged, ids, counts=counts, grain=PAGE, workspace=grained)[0]
        return found

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
    for name, predictor, index in (
        ("products, 12 bits", step.product, step.product.codes.nbytes),
        ("soft collisions, 600 bits", step.collisions, everything * 600 / 16 / 2 / WIDTH),
    ):
        kind = "product" if predictor is step.product else "collisions"
        step.add(f"select 2% by {name}", kind, lambda p=predictor: p(step.query)[0], float(index))
        step.add(
            f"select + attend 2%, {name}",
            f"selected {kind}",
            over(predictor, step.workspace(step.whole, predictor.ids)),
            index + wanted * step.row,
        )
    step.add("vAttention's whole step at (.1, .1), Hamming", "sampled", lambda: step.peaks.sampled(step.peaks.query)[0])
    turned = step.rotated.workspace(step.query)

    def rotated() -> torch.Tensor:
        return step.rotated.attend(step.query, step.whole.lengths, workspace=turned)[0]

    bits = step.rotated.bits_per_element
    step.add(f"all tokens, rotated, at {bits} bits", "rotated bits", rotated, everything * bits / 16)
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
    room = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE)
    starts = torch.arange(batch + 1, dtype=torch.int32, device=DEVICE) * pages
    table = step.paged.table
    assert table is not None
    last = torch.full((batch,), PAGE, dtype=torch.int32, device=DEVICE)
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
