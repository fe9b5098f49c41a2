"""The twin of the kernel: one sequence, one head, one sum after the other, in float64 unless asked otherwise."""

from __future__ import annotations

import torch

from vevolve.kernels.cache import Cache


def attend(
    query: torch.Tensor,
    cache: Cache,
    ids: torch.Tensor | None = None,
    log_prob: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    *,
    grain: int = 1,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention over chosen tokens; arguments and results as of `vevolve.kernels.attend.attend.attend`.

    out = sum_i exp(s_i) / p_i v_i / sum_i exp(s_i) / p_i over the ids that are neither padding nor beyond the length.

    Returns:
        out float64 [B, H, G, d] and the natural logarithm of the denominator, float64 [B, H, G].
    """
    batch, heads, group, width = query.shape
    factor = width**-0.5 if scale is None else scale
    out = torch.zeros(query.shape, dtype=torch.float64, device=query.device)
    lse = torch.zeros(query.shape[:3], dtype=torch.float64, device=query.device)
    for b in range(batch):
        keys, values = (cache.rows(tensor, b).double() for tensor in (cache.keys, cache.values))
        for h in range(heads):
            for g in range(group):
                scores = keys[h] @ query[b, h, g].double() * factor
                at = (b, h) if ids is None or ids.dim() == 3 else (b, h, g)
                tokens, weight = torch.arange(len(scores), device=query.device), torch.zeros_like(scores)
                if ids is not None:
                    listed = ids[at] if counts is None else ids[at][: int(counts[at])]
                    logs = torch.zeros(listed.shape) if log_prob is None else log_prob[at][: len(listed)]
                    tokens = (listed.long()[:, None] * grain + torch.arange(grain, device=ids.device)).flatten()
                    weight = logs.to(scores).repeat_interleave(grain)
                    keep = (listed >= 0).repeat_interleave(grain) & (tokens < len(scores))
                    tokens, weight = tokens[keep], weight[keep]
                logits = scores[tokens] - weight
                lse[b, h, g] = logits.logsumexp(0)
                out[b, h, g] = logits.softmax(0) @ values[h][tokens] if len(tokens) else torch.nan
    return out, lse
