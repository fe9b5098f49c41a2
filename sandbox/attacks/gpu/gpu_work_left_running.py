"""Answer rightly and leave the device busy, so that whoever is timed next looks slow.

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
    out = held["matrix"] @ query
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(400_000_000)
    return out
