# mypy: ignore-errors
# pyright: basic, reportPrivateUsage=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
"""Runs one program of a kernel at a time under Triton's interpreter, in a sandboxed process that holds no data.

This text is the program of that process; the candidate's text, written anew from its checked tree, is its argument.
Pointers here are numbers without memory behind them: a load asks the trusted side for what lies there, which counts it
and refuses what is out of range, and what a program stores is its answer. So neither the inputs nor the counters are
in reach of a kernel, even of one that would get out of what it is written in.
"""

import linecache
import os
import sys
import types
import warnings

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

FILE = "kernel.py"
MOST = 1200
"""Characters of a message."""

if not isinstance(tl.max, interpreter.InterpretedFunction):
    raise ImportError("Triton was imported here before its interpreter was asked for; open a fresh process.")

builder = interpreter.interpreter_builder
kernels = types.ModuleType("kernel")
memory_now = None
stored = []


def _load(pointers, mask, other, *_):
    """What lies at the addresses whose mask is set; `other`, or zeros, where it is not."""
    kind = interpreter._get_np_dtype(pointers.get_element_ty())
    shape = pointers.data.shape
    wanted = np.broadcast_to(mask.data, shape).astype(bool)
    found = np.zeros(shape, kind) if other is None else np.array(np.broadcast_to(other.data, shape), kind)
    if wanted.any():
        found[wanted] = memory_now.load(pointers.data[wanted].astype(np.int64), kind.name)
    return interpreter.TensorHandle(found, pointers.get_element_ty())


def _store(pointers, value, mask, *_):
    """Keep what is written, as a part of the answer."""
    shape = pointers.data.shape
    wanted = np.broadcast_to(mask.data, shape).astype(bool)
    if wanted.any():
        values = np.broadcast_to(value.data, shape)[wanted]
        stored.append((pointers.data[wanted].astype(np.int64), values.astype(np.float64)))


def _nothing(*_):
    """In place of what was done once for all."""


builder.create_masked_load = _load
builder.create_masked_store = _store
# The interpreter puts its own functions in place of `tl`'s for each call of a kernel, which takes longer than the call.
kernels.tl = tl
for module in (kernels, sys.modules[tl.max.fn.__module__]):
    interpreter._patch_lang(types.FunctionType((lambda: None).__code__, module.__dict__))
interpreter._patch_lang = _nothing
# Triton 3.6 makes a loop's bound of an array with one axis, which NumPy 2.5 refuses.
tl.tensor.__index__ = lambda self: int(self.handle.data.item())


def prepare(source):
    """Define the kernels of a text. Returns an error message, or nothing."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(True), FILE)
    kernels.__file__ = FILE
    sys.modules["kernel"] = kernels
    warnings.simplefilter("ignore")
    return _answered(lambda: exec(compile(source, FILE, "exec", dont_inherit=True), kernels.__dict__))  # noqa: S102


def run(kernel, grid, at, numbers, pointers, memory):
    """Run the program at one place of a grid.

    Args:
        kernel: its name.
        grid: programs along each axis.
        at: which one.
        numbers: arguments by name, and whether each is a `tl.constexpr`.
        pointers: arguments by name: address, and Triton's name of the element's type.
        memory: loads what lies at addresses.

    Returns:
        {"sizes", "at", "values"}: addresses and values, float64, of every store, and how many belong to each; or
        {"error"}; or nothing where nothing was stored.
    """
    global memory_now
    memory_now = memory
    stored.clear()

    def launch():
        given = {name: value if constant else interpreter._implicit_cvt(value) for name, (value, constant) in numbers}
        for name, (address, kind) in pointers.items():
            pointer = tl.pointer_type(getattr(tl, kind))
            handle = interpreter.TensorHandle(np.array([address], np.uint64), pointer)
            given[name] = tl.tensor(handle, pointer)
        builder.set_grid_dim(*grid)
        builder.set_grid_idx(*at)
        function = kernels.__dict__[kernel]
        function.rewrite()(**given)

    if (failed := _answered(launch)) is not None:
        return failed
    if not stored:
        return None
    return {
        "sizes": np.array([len(place) for place, _ in stored], np.int64),
        "at": np.concatenate([place for place, _ in stored]),
        "values": np.concatenate([values for _, values in stored]),
    }


def _answered(act):
    """Carry out what a kernel's author is at fault for, and return its failure as an answer."""
    try:
        act()
    except Exception as error:
        return {"error": np.frombuffer(_told(error).encode("utf-8", "replace")[:MOST], np.uint8)}
    return None


def _told(error):
    """The first cause, and the kernel's own line."""
    line = ""
    while error is not None:
        cause, trace = error.__cause__ or error.__context__, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == FILE:
                line = f" (in `{linecache.getline(FILE, trace.tb_lineno).strip()[:160]}`)"
            trace = trace.tb_next
        if cause is None:
            break
        error = cause
    return f"{type(error).__name__}: {str(error)[:800]}{line}"
