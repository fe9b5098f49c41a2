"""Launch on a stream that nobody waits for, and answer before it is done.

Group: gpu
Expected: wrong
"""

import torch

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


side = torch.cuda.Stream()


def score(query):
    out = torch.zeros(held["matrix"].shape[0], device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        torch.mv(held["matrix"], query, out=out)
    return out
