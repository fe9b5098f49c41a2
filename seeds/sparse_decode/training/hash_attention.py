"""Train the bit mappings of HashAttention: python seeds/sparse_decode/training/hash_attention.py [--cache FILE]

For each layer and KV head two networks d -> d -> d -> 32 with SiLU, one for keys and one for the queries of the group.
Bits are signs; backwards, a sign counts as tanh (gradient 1 - tanh^2). p = sigmoid(<h_q, h_k> - threshold) is fitted by
cross-entropy, positives weighted 20-fold, to the 32 keys of largest true logit outside sinks and window: the recipe of
Desai et al. 2024 (arXiv:2412.14468). All heads of all layers learn at once. Recall is printed on documents held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from recording import Recording, recordings
from safetensors.torch import save_file

OUT = Path(__file__).parents[1] / "hash_attention.safetensors"
BITS = 32
POSITIVES = 32
POSITIVE_WEIGHT = 20.0
SINKS = 4
WINDOW = 32
STEPS = 400
BATCH = 16
"""Queries of one document at each step."""
HELD_OUT = (5, 17, 29)
RATE = 1e-3


class Sign(torch.autograd.Function):
    """The sign forwards, tanh backwards."""

    @staticmethod
    def forward(ctx, x):
        """Return -1 or 1."""
        ctx.save_for_backward(x)
        return torch.where(x > 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient):
        """Scale the gradient by the derivative of tanh."""
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh().square())


def network(heads: int, d: int, rng: torch.Generator) -> list[torch.Tensor]:
    """Weights of three layers, [heads, inputs + 1, outputs], the bias last; uniform within 1 / sqrt(inputs)."""
    sizes = ((d, d), (d, d), (d, BITS))
    return [((2 * torch.rand(heads, i + 1, o, generator=rng) - 1) / i**0.5).requires_grad_() for i, o in sizes]


def hashed(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """What the last layer gives, [heads, m, BITS], before the sign."""
    for depth, weight in enumerate(weights):
        x = torch.baddbmm(weight[:, -1:], torch.nn.functional.silu(x) if depth else x, weight[:, :-1])
    return x


def allowed(document: Recording, chosen: torch.Tensor) -> torch.Tensor:
    """Which keys compete for a query: earlier ones but sinks and window, bool [chosen, N]."""
    place = torch.arange(document.keys.shape[1])
    return (place >= SINKS) & (place <= document.positions[chosen, None] - WINDOW)


def logits(keys: torch.Tensor, queries: torch.Tensor, may: torch.Tensor) -> torch.Tensor:
    """True logits [heads, G, chosen, N], -inf where a key does not compete."""
    return (queries @ keys[:, None].mT / keys.shape[2] ** 0.5).masked_fill(~may, -torch.inf)


def recall(
    document: Recording, q_weights: list[torch.Tensor], k_weights: list[torch.Tensor], count: int
) -> torch.Tensor:
    """Share of a group's true top 32 (by attention summed over the group) within the `count` of best score, [heads]."""
    with torch.no_grad():
        keys, queries, may = document.keys.float(), document.queries.float(), allowed(document, torch.arange(96))
        keys = keys - keys.mean(dim=1, keepdim=True)
        truth = logits(keys, queries, may).softmax(dim=-1).sum(dim=1).topk(POSITIVES, dim=-1).indices
        q = Sign.apply(hashed(queries.flatten(1, 2), q_weights)).unflatten(1, queries.shape[1:3]).sum(dim=1)
        k = Sign.apply(hashed(keys, k_weights))
        found = (q @ k.mT).masked_fill(~may, -torch.inf).topk(count, dim=-1).indices
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
    rng = torch.Generator().manual_seed(1)
    q_weights, k_weights = network(heads, d, rng), network(heads, d, rng)
    threshold = torch.zeros(heads, 1, 1, 1, requires_grad=True)
    spread_q = torch.stack([document.queries.float().std(dim=(1, 2)) for document in taught]).mean(dim=0)
    spread_k = torch.stack([document.keys.float().std(dim=1) for document in taught]).mean(dim=0)
    with torch.no_grad():  # inputs of unit spread: folded into the first layer
        q_weights[0][:, :-1] /= spread_q[..., None]
        k_weights[0][:, :-1] /= spread_k[..., None]
    optimiser = torch.optim.Adam([*q_weights, *k_weights, threshold], lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3 * RATE, total_steps=given.steps)
    for step in range(given.steps):
        document = taught[int(torch.randint(len(taught), (), generator=rng))]
        chosen = torch.randperm(len(document.positions), generator=rng)[:BATCH]
        keys, queries = document.keys.float(), document.queries[:, :, chosen].float()
        keys = keys - keys.mean(dim=1, keepdim=True)
        may = allowed(document, chosen)
        with torch.no_grad():
            true = logits(keys, queries, may)
            positive = true >= true.topk(POSITIVES, dim=-1).values[..., -1:]
        q = Sign.apply(hashed(queries.flatten(1, 2), q_weights)).unflatten(1, queries.shape[1:3])
        score = q @ Sign.apply(hashed(keys, k_weights))[:, None].mT - threshold
        loss = torch.nn.functional.softplus(torch.where(positive, -score, score)) * may
        loss = torch.where(positive, POSITIVE_WEIGHT, 1.0) * loss
        loss = loss.sum(dim=(1, 2, 3)) / (may.sum() * queries.shape[1])
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            found = torch.stack([recall(documents[place], q_weights, k_weights, 64) for place in HELD_OUT])
            print(f"step {step + 1}: loss {loss.mean():.4f}, 32 in 64, held out: {found.mean():.3f}", flush=True)
    names = [f"{side}{depth}" for side in "qk" for depth in (1, 2, 3)]
    tensors = {
        name: weight.detach().unflatten(0, (documents[0].layers, -1)).half().contiguous()
        for name, weight in zip(names, [*q_weights, *k_weights], strict=True)
    }
    save_file(tensors, given.out)
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
