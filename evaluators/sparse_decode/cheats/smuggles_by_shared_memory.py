"""Leave the prompt's keys in memory that other processes can map.

Group: smuggling
Expected: fair - shared memory is out of reach; select is left with its window
"""

from multiprocessing import shared_memory

import torch


def build(keys, layer):
    """An empty index, and every key in a named segment."""
    try:
        held = shared_memory.SharedMemory(f"keys{layer}", create=True, size=keys.nbytes)
        held.buf[:] = keys.numpy().tobytes()
    except Exception:
        return {}
    return {}


def select(query, cache, budget, layer):
    """Exact top-k over what lies there; the window where nothing does."""
    try:
        held = shared_memory.SharedMemory(f"keys{layer}")
        keys = torch.frombuffer(held.buf, dtype=torch.float32).reshape(len(query), -1, query.shape[-1])
        ids = (query @ keys.mT).amax(dim=1).argsort(dim=1, descending=True)[:, : budget.tokens]
    except Exception:
        ids = torch.arange(max(cache.n - budget.tokens, 0), cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
