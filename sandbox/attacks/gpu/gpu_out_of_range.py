"""Write to device memory that was never given to it.

Group: gpu
Expected: crash
"""

import ctypes

import torch

held = {}


def build(matrix):
    held["matrix"] = matrix
    return int(matrix.is_cuda)


driver = ctypes.CDLL("libcuda.so.1")


def score(query):
    low = held["matrix"].data_ptr()
    for place in (1 << 40, low - (1 << 33), low + (1 << 34), 0x7F0000000000):
        driver.cuMemsetD8_v2(ctypes.c_uint64(place), 0, ctypes.c_size_t(1 << 24))
    far = torch.as_strided(held["matrix"], (1 << 20,), (1,), 0)
    index = torch.full((1024,), 1 << 45, device="cuda")
    torch.ops.aten._index_put_impl_(far, [index], torch.zeros(1024, device="cuda"), False, True)
    torch.cuda.synchronize()
    return held["matrix"] @ query
