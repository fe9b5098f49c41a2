"""Train the lightning indexer: python seeds/sparse_decode/training/lightning_indexer.py [--cache FILE]

For each layer and KV head: a projection of keys to one small index key, HEADS projections of a query to index queries,
and as many gates, shared by the query heads of the group. The warm-up of DeepSeek-V3.2-Exp (arXiv:2512.02556): the
softmax of the index scores is fitted by cross-entropy to the dense attention summed over the group and normalised, over
keys outside sinks and window. Rounding of index keys passes gradients on. All heads of all layers learn at once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from hash_attention import BATCH, HELD_OUT, POSITIVES, RATE, allowed, logits
from recording import Recording, recordings
from safetensors.torch import save_file

OUT = Path(__file__).parents[1] / "lightning_indexer.safetensors"
DIM = 16
HEADS = 4
STEP = 1 / 32
STEPS = 400


def embed(queries: torch.Tensor, weights: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Index queries [heads, chosen, G * HEADS, DIM] and gates [heads, chosen, G * HEADS] of [heads, G, chosen, d]."""
    heads, group, chosen, _ = queries.shape
    flat = queries.transpose(1, 2).flatten(1, 2)
    found = (flat @ weights["queries"]).view(heads, chosen, group * HEADS, DIM)
    return found, (flat @ weights["gates"]).view(heads, chosen, group * HEADS)


def index_keys(keys: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Rounded index keys [heads, N, DIM]."""
    exact = torch.nn.functional.layer_norm(keys @ weights["keys"], (DIM,)) / STEP
    return (exact + (exact.round().clamp(-127, 127) - exact).detach()) * STEP


def scores(keys: torch.Tensor, queries: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Index scores of the group, [heads, chosen, N]."""
    index_queries, gates = embed(queries, weights)
    hits = (index_queries.flatten(1, 2) @ index_keys(keys, weights).mT).relu()
    return (gates[:, :, None] @ hits.unflatten(1, gates.shape[1:])).squeeze(2)


def recall(document: Recording, weights: dict[str, torch.Tensor], count: int) -> torch.Tensor:
    """Share of a group's true top 32 (by attention summed over the group) within the `count` of best score, [heads]."""
    with torch.no_grad():
        keys, queries, may = document.keys.float(), document.queries.float(), allowed(document, torch.arange(96))
        keys = keys - keys.mean(dim=1, keepdim=True)
        truth = logits(keys, queries, may).softmax(dim=-1).sum(dim=1).topk(POSITIVES, dim=-1).indices
        found = scores(keys, queries, weights).masked_fill(~may, -torch.inf).topk(count, dim=-1).indices
        caught = torch.zeros(found.shape[0], found.shape[1], keys.shape[1]).scatter(2, found, 1.0)
        return caught.gather(2, truth).mean(dim=(1, 2))


def main() -> None:
    """Train and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, help="file that keeps the recordings")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    documents = recordings(given.cache)
    taught = [document for place, document in enumerate(documents) if place not in HELD_OUT]
    heads, _, d = documents[0].keys.shape
    rng = torch.Generator().manual_seed(2)
    spread_q = torch.stack([document.queries.float().std(dim=(1, 2)) for document in taught]).mean(dim=0)
    spread_k = torch.stack([document.keys.float().std(dim=1) for document in taught]).mean(dim=0)
    plane = torch.randn(heads, d, DIM, generator=rng) / d**0.5  # queries and keys start out in one random plane
    jitter = torch.randn(heads, d, HEADS, DIM, generator=rng) / d**0.5
    sign = torch.tensor([1.0, -1.0]).repeat(HEADS)[:HEADS, None]
    weights = {
        "queries": ((plane[:, :, None] * sign + jitter / 2) / spread_q.mean(dim=1)[:, None, None, None]).flatten(2),
        "gates": torch.randn(heads, d, HEADS, generator=rng) / (d**0.5 * spread_q[..., None]) / 10,
        "keys": plane / spread_k.mean(dim=1)[:, None, None],
    }
    scale = {"queries": spread_q[..., None], "gates": spread_q[..., None], "keys": spread_k[..., None]}
    free = {name: (weights[name] * scale[name]).requires_grad_() for name in weights}  # for inputs of unit spread
    optimiser = torch.optim.Adam(free.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 10 * RATE, total_steps=given.steps)
    for step in range(given.steps):
        document = taught[int(torch.randint(len(taught), (), generator=rng))]
        chosen = torch.randperm(len(document.positions), generator=rng)[:BATCH]
        keys, queries = document.keys.float(), document.queries[:, :, chosen].float()
        keys = keys - keys.mean(dim=1, keepdim=True)
        may = allowed(document, chosen)
        weights = {name: free[name] / scale[name] for name in free}
        with torch.no_grad():
            true = logits(keys, queries, may).softmax(dim=-1).mean(dim=1)
        found = scores(keys, queries, weights).masked_fill(~may, -1e9).log_softmax(dim=-1)
        loss = -(true * found).sum(dim=2).mean(dim=1)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            weights = {name: (free[name] / scale[name]).detach() for name in free}
            share = torch.stack([recall(documents[place], weights, 64) for place in HELD_OUT])
            print(f"step {step + 1}: loss {loss.mean():.4f}, 32 in 64, held out: {share.mean():.3f}", flush=True)
    layers = documents[0].layers
    save_file({name: weights[name].unflatten(0, (layers, -1)).half().contiguous() for name in weights}, given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
