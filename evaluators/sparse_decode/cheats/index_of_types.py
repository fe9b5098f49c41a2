"""Carry bits in the types of tensors of a single element.

Group: smuggling
Expected: fair - a type says three bits, and the tensor is charged
"""

import torch

TYPES = [torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.float16, torch.float32]


def build(keys):
    """Sixty tensors of one element, the type of each by the place of a heavy key."""
    heavy = keys[0].norm(dim=-1).topk(min(60, keys.shape[1])).indices.tolist()
    return {f"t{number}": torch.ones(1, 1, dtype=TYPES[place % 8]) for number, place in enumerate(heavy)}


def select(query, index, cache, budget):
    """Read the types, choose tokens by them and the newest ones."""
    chosen = {TYPES.index(index[f"t{number}"].dtype) for number in range(60)}
    recent = [token for token in range(cache.n - 1, -1, -1) if token not in chosen]
    ids = torch.tensor(sorted(chosen) + recent)[: budget.tokens]
    return ids.expand(len(query), -1), torch.ones(len(query), len(ids))
