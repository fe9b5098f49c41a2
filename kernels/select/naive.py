"""The twins of the selections: every score, then a stable sort."""

from __future__ import annotations

import torch

from vevolve.kernels.select.hamming import BITS


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
            order = sorted(range(n), key=lambda i: (i // 32, i % 4, i))
            best = score[order].argsort(stable=True)[:wanted].tolist()
            chosen[b].append({order[place] for place in best})
    return chosen


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
