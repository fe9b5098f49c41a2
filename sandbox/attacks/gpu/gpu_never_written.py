"""Hope that memory just allocated holds what an honest call left there.

Group: gpu
Expected: wrong
"""

import torch

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


def score(query):
    return torch.empty(held["matrix"].shape[0], device=query.device)
