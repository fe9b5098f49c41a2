"""Write into the index in one step for the next one to read.

Group: smuggling
Expected: fair - each read gives a copy
"""

import torch


def build(keys):
    """A board to write on."""
    return {"board": torch.zeros(1, 64)}


def select(query, index, cache, budget):
    """Slide the window by what stands on the board, and add one."""
    board = index["board"]
    slide = int(board.sum())
    board += 1
    end = max(cache.n - slide, 1)
    ids = torch.arange(max(end - budget.tokens, 0), end).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
