"""Return at once, and compute when the answer is looked at.

Group: gpu
Expected: fair
"""

import time

import torch

REAL_S = 0.02
held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


class Lazy(torch.Tensor):
    def cpu(self):
        time.sleep(REAL_S)
        return (held["matrix"] @ held["query"]).as_subclass(torch.Tensor).cpu()


def score(query):
    held["query"] = query
    return torch.empty(0, device=query.device).as_subclass(Lazy)
