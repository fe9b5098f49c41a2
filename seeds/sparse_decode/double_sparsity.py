"""Double Sparsity: rank tokens by a few channels of their keys (Yang et al. 2024, arXiv:2408.07092).

    channels = the CHANNELS of largest mean |q_c| |k_c|,  score = softmax(sum_c q_c k_c) summed over the group.

The paper calibrates channels offline, on other texts; here they are those of the prompt: its last queries and its keys
behind the sinks, centred (which moves all logits alike). Codes have 4 bits on a range fixed for each head and channel
by the prompt; the paper's have a scale for each token, which its bits do not count. The Sparse Attention Hub sums
scores over all heads and has one set a layer. Index: 32 bits a token, channels and ranges.
"""

import math

import torch

PUBLISHED = (
    "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 21.1/29.1/44.0/67.2 "
    "at 2/5/10/20 %, 32 bits"
)
CHANNELS = 8
LEVELS = 15
SINKS = 4
WINDOW_SHARE = 0.1


def build(keys, queries):
    """Return the codes [H, n, CHANNELS / 2], the channels [H, CHANNELS], and their least value and step [H, C, 2]."""
    middle = keys[:, SINKS:] if keys.shape[1] > SINKS else keys
    weight = queries.abs().mean(dim=(1, 2)) if queries.shape[2] else torch.ones_like(keys[:, 0])
    channels = (weight * (middle - middle.mean(dim=1, keepdim=True)).abs().mean(dim=1)).sort(
        descending=True, stable=True
    )
    channels = channels.indices[:, :CHANNELS]
    kept = middle.gather(2, channels[:, None].expand(-1, middle.shape[1], -1))
    least = kept.amin(dim=1)
    scale = torch.stack([least, (kept.amax(dim=1) - least) / LEVELS], dim=2)
    index = {"channels": channels.short(), "scale": scale}
    return {**index, "codes": quantise(keys, index)}


def quantise(keys, index):
    """Return the codes of keys [H, m, d], two channels in a byte, uint8 [H, m, CHANNELS / 2]."""
    kept = keys.gather(2, index["channels"].long()[:, None].expand(-1, keys.shape[1], -1))
    least, step = index["scale"][:, None].unbind(dim=3)
    codes = ((kept - least) / step.clamp(min=1e-30)).round().clamp(0, LEVELS).byte()
    codes = torch.nn.functional.pad(codes, (0, codes.shape[2] % 2))
    return codes[..., ::2] + 16 * codes[..., 1::2]


def append(index, keys):
    """Quantise generated keys too; what leaves the prompt's range is cut."""
    codes = torch.cat([index["codes"], quantise(keys, index)], dim=1)
    return {"channels": index["channels"], "scale": index["scale"], "codes": codes}


def score(query, index, cache):
    """Return the softmax of the logits over the kept channels alone, summed over the group, [H, n]."""
    stored = {name: index[name] for name in ("channels", "scale", "codes")}
    newest = torch.arange(stored["codes"].shape[1], cache.n, device=query.device).expand(len(query), -1)
    codes = append(stored, cache.keys(newest))["codes"]
    codes = torch.stack([codes & 15, codes >> 4], dim=3).flatten(2)[..., : stored["channels"].shape[1]]
    kept = query.gather(2, stored["channels"].long()[:, None].expand(-1, query.shape[1], -1))
    weight = kept * stored["scale"][:, None, :, 1] / query.shape[2] ** 0.5  # the least value moves all logits alike
    return (weight @ codes.to(query.dtype).mT).softmax(dim=-1).sum(dim=1)


def choose(scores, count):
    """Return ids [H, min(count, n)]: the sinks, the window, then the best scores."""
    window = math.ceil(WINDOW_SHARE * count)
    scores = scores.clone()
    scores[:, :SINKS] = torch.inf
    scores[:, max(scores.shape[1] - window, 0) :] = torch.inf
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def select(query, index, cache, budget):
    """Return the chosen tokens, each with probability 1: ids and prob [H, m]."""
    ids = choose(score(query, index, cache), budget.tokens)
    return ids, torch.ones(ids.shape, device=query.device)
