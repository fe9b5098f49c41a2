"""Compile every kernel for an H200, where there is none: each launch of a small call is compiled instead of made.

Prints a line for each: its name, bytes of shared memory, registers and bytes of stack of a thread. Run as a script, in
a process without TRITON_INTERPRET.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vevolve.kernels import launch as launches

H200 = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float32: "fp32",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
}
DISASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def compiled(kernel: Any, *arguments: Any, **named: Any) -> Any:
    """What Triton makes for an H200 of a kernel that would be launched with these arguments.

    Whole numbers that are 1 are constants, as in a launch.
    """
    signature: dict[str, str] = {}
    constants = {name: value for name, value in named.items() if name in kernel.arg_names}
    hints: dict[tuple[int], list[list[Any]]] = {}
    for place, (name, value) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        if isinstance(value, torch.Tensor):
            signature[name] = "*" + TYPES[value.dtype]
        elif isinstance(value, int) and value == 1 and name not in (kernel.do_not_specialize or ()):
            constants[name] = value
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value and value % 16 == 0):
            hints[(place,)] = [["tt.divisibility", 16]]
    choices = {name: value for name, value in named.items() if name not in kernel.arg_names}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature, constants, hints)
    return triton.compile(source, target=H200, options=choices | {"launch_pdl": True})


def compile_launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:
    """What stands in for `launch`."""
    found = compiled(kernel, *arguments, **named)
    registers, stack = usage(found.asm["cubin"])
    print(f"{kernel.__module__.removeprefix('vevolve.kernels.')}.{kernel.__name__}", end=" ")
    print(f"shared {found.metadata.shared} registers {registers} stack {stack}", flush=True)


def usage(binary: bytes) -> tuple[int, int]:
    """Registers and bytes of stack of a thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(DISASSEMBLER), "-res-usage", file.name]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (re.search(rf"{name}:(\d+)", words) for name in ("REG", "STACK"))
    if registers is None or stack is None:
        raise RuntimeError(f"expected cuobjdump to tell of registers and stack, got {words!r}")
    return int(registers[1]), int(stack[1])


@dataclass
class Given:
    """A predictor that has made up its mind."""

    ids: torch.Tensor

    def __call__(self, query: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        return self.ids, torch.full(self.ids.shape[:2], self.ids.shape[2], dtype=torch.int32)


def calls(kind: torch.dtype, width: int) -> None:
    """One call of each of our kernels."""
    from vevolve.kernels.attend.attend import attend
    from vevolve.kernels.attend.tuning import Choice
    from vevolve.kernels.cache import Cache
    from vevolve.kernels.codecs.packed import Packed
    from vevolve.kernels.codecs.rotated import Rotated, codebook, rotation
    from vevolve.kernels.sample.vattention import VAttention
    from vevolve.kernels.select.collisions import Collisions
    from vevolve.kernels.select.hamming import BITS, Hamming
    from vevolve.kernels.select.pages import Pages
    from vevolve.kernels.select.product import Product

    lengths = torch.full((1,), 200, dtype=torch.int32)
    query = torch.zeros(1, 2, 4, width, dtype=kind)
    pages = torch.zeros(2, 16, 16, 2, width, dtype=kind)
    cache = Cache(pages[0], pages[1], lengths, torch.arange(16, dtype=torch.int32)[None])
    bytes_ = torch.zeros(1, 2, 60, 4096, dtype=torch.uint8)
    given = Given(torch.zeros(1, 2, 64, dtype=torch.int32))
    attend(query, cache, given.ids, torch.zeros(1, 2, 64))
    codes = torch.zeros(1, 2, 4096, dtype=torch.int32)
    normals = torch.zeros(2, width, BITS, dtype=kind)
    Hamming.of(normals, codes, lengths, 1, sinks=0)(query)
    Hamming.of(normals, codes, lengths, 9)(query)
    corners = torch.zeros(2, 1, 2, 64, width, dtype=kind)
    Pages.of(corners[0], corners[1], lengths, 9)(query)
    books = torch.zeros(2, 2, 64, width // 2, dtype=kind)
    pairs = bytes_[:, :, :2].mT.contiguous()
    Product.of(books, pairs, lengths, 1, sinks=1)(query)
    Product.of(books, pairs, lengths, 64, passes=2)(query)
    planes, norms = torch.zeros(600, width, dtype=kind), torch.zeros(1, 2, 4096, dtype=torch.float16)
    high = bytes_[:, :, :15].contiguous()
    Collisions.of(planes, bytes_, high, lengths, 64, norms=norms)(query)
    VAttention.of(cache, given, 4, 0.1, 0.1, choices=(Choice(32, 6, 4, 4), Choice(32, 7, 4, 4)))(query)
    keys = torch.randn(1, 2, 256, width)
    Packed.of(keys, keys, 4).attend(query, lengths, splits=4)
    spin = rotation(width, torch.Generator())
    Rotated.of(keys, keys, spin, codebook(4, width)).attend(query, lengths, splits=4)


if __name__ == "__main__":
    launches.launch = compile_launch  # before the modules that import it
    launches.overlaps = lambda device: True
    launches.cores = lambda device: 132
    launches.options = lambda device: {}
    calls(getattr(torch, sys.argv[1]), int(sys.argv[2]))
