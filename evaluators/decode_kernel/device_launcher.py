# mypy: ignore-errors
# pyright: basic
"""Launches machine code on one GPU and reads the device's events, in a sandboxed process with no reference answer.

This text is the program of that process. No code of a candidate runs on the host here; its code on the device may write
anywhere in this process's device memory, so buffers are filled anew or compared, and the time is checked by who asks.
"""

import ctypes
import time

import numpy as np
import torch

FLUSH = 4
"""Times the size of the L2 cache that is written to empty it."""
SLEEP = 200_000
"""Cycles for which the device sleeps while launches are enqueued, so that the host's time is not in theirs."""

driver = ctypes.CDLL("libcuda.so.1")
held = {}
jobs = []


def _demand(code, what):
    if code:
        raise RuntimeError(f"{what} failed with error {code}")


def load(codes, told):
    """Load kernels. codes: arrays of bytes; told: for each its name, warps, shared bytes, grid and arguments."""
    torch.zeros(1, device="cuda")
    for code, one in zip(codes, told, strict=True):
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        image = bytes(code.cpu().numpy())
        _demand(driver.cuModuleLoadData(ctypes.byref(module), image), "loading the machine code")
        name = one["name"].encode()
        _demand(driver.cuModuleGetFunction(ctypes.byref(function), module, name), "finding the kernel")
        if one["shared"] > 48 << 10:
            _demand(driver.cuFuncSetAttribute(function, 8, one["shared"]), "asking for shared memory")
        jobs.append({**one, "function": function, "module": module})
    return len(jobs)


def keep(keys, values, scratch, size):
    """Keep what stays the same in all calls, and make room. scratch: name -> type and elements; size: of `out`."""
    held.update(keys=keys, values=values, out=torch.empty(size, dtype=torch.float16, device="cuda"))
    for name, (kind, count) in scratch.items():
        held[name] = torch.empty(count, dtype=getattr(torch, kind), device="cuda")
    held["flush"] = torch.zeros(
        FLUSH * torch.cuda.get_device_properties(0).L2_cache_size, dtype=torch.uint8, device="cuda"
    )
    return sum(tensor.numel() for tensor in held.values())


def step(query, ids, log_prob, salt):
    """Launch everything once, timed. Returns out, seconds of the device and of this process's clock, and intact."""
    own = {**held, "query": query, "ids": ids, "log_prob": log_prob}
    inputs = [own[name] for name in ("query", "keys", "values", "ids", "log_prob")]
    for name in ("out", "partial", "stats"):
        if name in own:
            own[name].fill_(float("nan"))
    prepared = [_prepared(one, own) for one in jobs]
    before = [_digest(tensor, salt) for tensor in inputs]
    held["flush"].add_(1)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    torch.cuda._sleep(SLEEP)
    began = time.perf_counter()
    start.record()
    for one, (given, _) in zip(jobs, prepared, strict=True):
        threads = 32 * one["warps"]
        launched = driver.cuLaunchKernel(
            one["function"], *one["grid"], threads, 1, 1, one["shared"], stream, given, None
        )
        _demand(launched, "launching")
    stop.record()
    stop.synchronize()
    wall = time.perf_counter() - began
    torch.cuda.synchronize()
    intact = [_digest(tensor, salt) for tensor in inputs] == before
    return {
        "out": own["out"],
        "seconds": np.array([start.elapsed_time(stop) / 1e3, wall]),
        "intact": np.array([int(intact)]),
    }


def _prepared(one, own):
    """The arguments of a launch as the driver takes them, and what keeps them alive."""
    values = []
    for kind, value in one["arguments"]:
        if kind == "buffer":
            values.append(ctypes.c_uint64(own[value].data_ptr()))
        else:
            values.append({"i32": ctypes.c_int32, "fp32": ctypes.c_float, "i1": ctypes.c_bool}[kind](value))
    # Two pointers to memory of the compiler's own, which these kernels were checked not to want.
    values += [ctypes.c_uint64(0), ctypes.c_uint64(0)]
    return (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values)), values


def _digest(tensor, salt):
    """A number that changes with the contents and their places; a kernel does not know the salt."""
    bits = tensor.reshape(-1).view({2: torch.int16, 4: torch.int32}[tensor.element_size()])
    total = 0
    for start in range(0, bits.numel(), 1 << 26):
        part = bits[start : start + (1 << 26)].to(torch.int64)
        place = torch.arange(start, start + part.numel(), device=part.device)
        total ^= int(((part + salt) * (place * 2 + salt | 1)).sum())
    return total
