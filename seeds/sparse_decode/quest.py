"""Quest: choose whole pages of keys by an upper bound on their logits (Tang et al. 2024, arXiv:2406.10774).

Each page of PAGE keys keeps its channel-wise minimum and maximum; its bound is sum_c max(q_c min_c, q_c max_c).
Kept: the sinks, the open page, and the pages of largest bound. Index: 2 d float16 numbers a page.

The public code keeps at least 3 pages a query head and leaves the first two layers dense. Here the query heads of a
group share one set, by the largest of their bounds; sinks and open page count against the budget, and the last page is
cut so that the budget is met to the token. Keys that no page holds yet are read and folded in at every step.
"""

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 64.2/85.5/86.9/87.5 "
    "at 2/5/10/20 %, 128 bits"
)
PAGE = 16
SINKS = 4


def build(keys):
    """Return the bounds of all pages, [2, H, pages, d], the last one maybe part full, and the tokens they cover."""
    heads, n, d = keys.shape
    pages = -(-n // PAGE)
    slots = torch.arange(pages * PAGE, device=keys.device).clamp(max=n - 1)  # an empty slot repeats the last key
    paged = keys[:, slots].reshape(heads, pages, PAGE, d)
    bounds = torch.stack([paged.amin(dim=2), paged.amax(dim=2)])
    return {"bounds": bounds.half(), "covered": torch.tensor([n], device=keys.device)}


def append(index, keys):
    """Fold generated keys into the pages. In a page that is part full, its two corners stand for the keys it has."""
    bounds, covered = index["bounds"], int(index["covered"])
    corners = bounds[torch.arange(covered % PAGE, device=keys.device) % 2, :, -1].transpose(0, 1)
    fresh = build(torch.cat([corners.to(keys.dtype), keys], dim=1))
    bounds = torch.cat([bounds[:, :, : covered // PAGE], fresh["bounds"]], dim=2)
    return {"bounds": bounds, "covered": index["covered"] + keys.shape[1]}


def score(query, index, cache):
    """Return the group's largest bound on each token's logit (without 1 / sqrt(d)), [H, n]."""
    stored = {"bounds": index["bounds"], "covered": index["covered"]}
    newest = torch.arange(int(stored["covered"]), cache.n, device=query.device).expand(len(query), -1)
    lower, upper = append(stored, cache.keys(newest))["bounds"].to(query.dtype)
    bound = (query.clamp(min=0) @ upper.mT + query.clamp(max=0) @ lower.mT).amax(dim=1)
    return bound.repeat_interleave(PAGE, dim=1)[:, : cache.n]


def choose(scores, count):
    """Return ids [H, min(count, n)]: the sinks, the open page, then the best scores."""
    last_page = (scores.shape[1] - 1) // PAGE * PAGE
    scores = scores.clone()
    scores[:, :SINKS] = torch.inf
    scores[:, last_page:] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
