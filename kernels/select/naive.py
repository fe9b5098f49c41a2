"""The twins of the selections: every score, then a stable sort."""

from __future__ import annotations

import torch

from vevolve.kernels.select.hamming import BITS
from vevolve.kernels.select.tables import GAIN


def hamming(
    query: torch.Tensor,
    planes: torch.Tensor,
    codes: torch.Tensor,
    lengths: torch.Tensor,
    wanted: int,
    sinks: int = 4,
    window: int = 0,
) -> list[list[set[int]]]:
    """The tokens of each sequence and KV head; arguments as of `vevolve.kernels.select.hamming`.

    Forced tokens first, then those with the fewest differing bits, summed over the group; among equals the earliest
    block of 32, and inside of it by (token mod 4, token).
    """
    chosen: list[list[set[int]]] = []
    for b in range(len(codes)):
        n = int(lengths[b])
        chosen.append([])
        for h in range(codes.shape[1]):
            signs = (query[b, h].float() @ planes[h].float()) > 0  # [G, 32]
            bits = (codes[b, h, :n, None] >> torch.arange(BITS, device=codes.device)) & 1
            score = (bits[:, None].bool() ^ signs).sum(dim=(1, 2))
            score[:sinks] = -1
            score[max(n - window, 0) :] = -1
            chosen[b].append(_earliest(score, wanted))
    return chosen


def _earliest(score: torch.Tensor, wanted: int) -> set[int]:
    """The tokens of the lowest scores [n], among equals the earliest block of 32, in it by (token mod 4, token)."""
    order = sorted(range(len(score)), key=lambda i: (i // 32, i % 4, i))
    best = score[order].argsort(stable=True)[:wanted].tolist()
    return {order[place] for place in best}


def product_tables(query: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Gains of each centroid before they are rounded, float64 [B, H, m, entries]; arguments as of `Product`."""
    parts = query.double().sum(dim=2).reshape(*query.shape[:2], codebooks.shape[-3], -1)  # [B, H, m, d / m]
    products: torch.Tensor = (codebooks.double() * parts[..., None, :]).sum(dim=-1)
    found = products - products.amin(dim=-1, keepdim=True)
    return found / found.amax(dim=(-2, -1), keepdim=True) * GAIN


def soft_tables(query: torch.Tensor, planes: torch.Tensor, tables: int, tau: float) -> torch.Tensor:
    """Each table's softmax over its buckets, summed over the group, float64 [B, H, L, 2^P], by the definition."""
    count = len(planes) // tables
    h = (query.double() @ planes.double().T).tanh() / query.shape[3] ** 0.5
    corners = 2.0 * (torch.arange(1 << count, device=query.device)[:, None] >> torch.arange(count).to(query.device) & 1)
    logits: torch.Tensor = h.reshape(*query.shape[:3], tables, count) @ (corners.double() - 1).T / tau
    return logits.softmax(dim=-1).sum(dim=2)


def sums(tables: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """The sum of each token's entries [n], of tables [parts, entries] and codes [n, parts] of one head."""
    return tables.gather(1, codes.long().T).sum(dim=0)


def nearest(
    distances: torch.Tensor, wanted: int, sinks: int, window: int, low: int = 0, shift: int = 0, bins: int = 0
) -> set[int]:
    """The tokens of one head by whole distances [n], forced ones first, the earliest among equals.

    With bins, distances count by their bin in the frame (low, shift) alone.
    """
    score = ((distances.long() - low) >> shift) + 1
    if bins:
        score = score.clamp(0, bins - 1)
    score[:sinks] = torch.iinfo(torch.int64).min if not bins else 0
    score[max(len(score) - window, 0) :] = torch.iinfo(torch.int64).min if not bins else 0
    return _earliest(score, wanted)


def page_scores(query: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
    """The group's largest bound on q . k for each page, float64 [B, H, pages]; arguments as of `Pages`."""
    corners = torch.stack([lower, upper]).double()
    products = query.double()[None, :, :, :, None] * corners[:, :, :, None]  # [2, B, H, G, pages, d]
    return products.amax(dim=0).sum(dim=-1).amax(dim=2)


def top_pages(scores: torch.Tensor, used: int, wanted: int, first: int, newest: int) -> set[int]:
    """The pages of one head by scores [pages], forced ones first, the earliest among equals."""
    scores = scores[:used].double().clone()
    scores[:first] = torch.inf
    scores[max(used - newest, 0) :] = torch.inf
    return set(scores.argsort(descending=True, stable=True)[:wanted].tolist())
