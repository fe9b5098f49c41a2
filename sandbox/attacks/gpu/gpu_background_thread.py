"""Keep a thread that feeds the device between calls.

Group: gpu
Expected: wrong
"""

import threading

import torch

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


side = torch.cuda.Stream()


def feed():
    while True:
        with torch.cuda.stream(side):
            torch.cuda._sleep(40_000_000)
        side.synchronize()


def score(query):
    if "thread" not in held:
        held["thread"] = threading.Thread(target=feed, daemon=True)
        held["thread"].start()
    return held["matrix"] @ query
