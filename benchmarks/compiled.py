"""What the compiler makes of the kernels that read codes, for an H200: nothing is run, and no GPU is needed.

    python benchmarks/compiled.py

Registers and spilled bytes of a thread, shared memory of a block, blocks that fit a multiprocessor, and instructions
that one warp issues for 128 tokens of one KV head, times the warps that share them, by kind. Two shares are reckoned
from these counts: of the issue slots and of the integer and logic slots that pass while the bytes are read. They are
estimates, not measurements: a share above 100 % says that bytes cannot be the bound, one below it promises nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "kernels"))
import compile_all
from compile_all import DISASSEMBLER, compiled, usage

from vevolve.kernels import launch as launches

READ, CORES, CLOCK = 4.55e12, 132, 1.755e9
"""Bytes a second that `decode.py` read on an H200, its multiprocessors, and a clock rate, which is assumed."""
ISSUED, LOGIC = 4, 2
"""Warp instructions a clock of a multiprocessor, and those for integers and logic: 64 lanes (CUDA's guide)."""
KINDS = {
    "integer and logic": ("LOP3", "SHF", "PRMT", "IADD3", "VIADD", "LEA", "ISETP", "FSETP", "SEL", "FSEL", "FMNMX"),
    "float": ("FADD", "FMUL", "FFMA", "HADD2", "HMUL2", "HFMA2", "IMAD", "MUFU"),
    "conversion": ("F2F", "F2FP", "I2F", "I2FP", "F2I"),
    "tensor core": ("HMMA", "HGMMA"),
    "shared memory": ("LDS", "LDSM", "STS", "STSM"),
    "global memory": ("LDG", "LDGSTS", "STG"),
    "spills": ("LDL", "STL"),
    "between threads": ("SHFL", "BAR", "WARPSYNC"),
}


@dataclass(frozen=True)
class Row:
    """A kernel at one shape: what it is called with, and the bytes of 128 tokens."""

    name: str
    call: Callable[[torch.Tensor, torch.Tensor], object]
    bytes_read: float


def rows(width: int, group: int) -> list[Row]:
    """The kernels that read codes of 2, 4 and 8 bits."""
    from vevolve.kernels.codecs.packed import Packed
    from vevolve.kernels.codecs.rotated import Rotated, codebook, rotation

    keys = torch.randn(1, 2, 256, width)
    spin, found = rotation(width, torch.Generator()), list[Row]()
    for bits in (2, 4, 8):
        packed = Packed.of(keys, keys, bits)
        read = packed.bits_per_element / 8 * 128 * 2 * width
        found.append(Row(f"packed, {bits} bits", lambda q, n, p=packed: p.attend(q, n, splits=16), read))
    for bits in (2, 4, 8):
        turned = Rotated.of(keys, keys, spin, codebook(bits, width))
        read = turned.bits_per_element / 8 * 128 * 2 * width
        found.append(Row(f"rotated, {bits} bits", lambda q, n, r=turned: r.attend(q, n, splits=16), read))
    return found


def loops(binary: bytes) -> list[list[str]]:
    """The names of the instructions of each loop, outermost first."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        command = [str(DISASSEMBLER.with_name("nvdisasm")), "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names: list[str] = []
    labels: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\S+):", line):
            labels[label[1]] = len(names)
        elif found := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(\S+)(.*);", line):
            target = re.search(r"`\((\.L_\S+)\)", found[2])
            if found[1].startswith("BRA") and target and target[1] in labels and labels[target[1]] < len(names):
                spans.append((labels[target[1]], len(names) + 1))
            names.append(found[1].split(".")[0])
    return [names[start:end] for start, end in sorted(spans, key=lambda span: span[0] - span[1])]


def by_kind(counts: Counter[str], warps: int) -> dict[str, int]:
    """Instructions of all warps by kind, and all."""
    kinds = {kind: warps * sum(counts[name] for name in names) for kind, names in KINDS.items()}
    return kinds | {"all": warps * counts.total()}


def blocks(registers: int, shared: int, warps: int) -> int:
    """Blocks that fit the registers and the shared memory of a multiprocessor, of which each block takes 1 KiB more."""
    rounded = -(-registers // 8) * 8
    return min(65536 // (rounded * 32 * warps), (228 << 10) // (shared + 1024), 32)


def main() -> None:
    width, group = 128, 4
    seen: list[tuple[Any, int]] = []

    def instead(kernel: Any, grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:
        if kernel.__name__ == "attend":  # and not what turns queries
            seen.append((compiled(kernel, *arguments, **named), named["num_warps"]))

    launches.launch = instead  # before the modules that import it
    launches.overlaps = lambda device: True
    launches.options = lambda device: {}
    query = torch.zeros(1, 2, group, width, dtype=torch.bfloat16)
    lengths = torch.full((1,), 256, dtype=torch.int32)
    print(
        f"Compiled for an H200 by Triton {compile_all.triton.__version__}, not run: bf16, d = {width}, G = {group}.\n"
    )
    heads = ("kernel", "warps", "registers", "spilled", "shared", "blocks", *KINDS, "all", "of issue", "of logic")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows(width, group):
        row.call(query, lengths)
        found, warps = seen.pop()
        registers, stack = usage(found.asm["cubin"])
        kinds = by_kind(Counter(loops(found.asm["cubin"])[0]), warps)
        shared = found.metadata.shared
        clocks = row.bytes_read / (READ / CORES / CLOCK)
        issue, logic = kinds["all"] / ISSUED / clocks, kinds["integer and logic"] / LOGIC / clocks
        cells = (row.name, warps, registers, stack, shared, blocks(registers, shared, warps), *kinds.values())
        print("| " + " | ".join(map(str, cells)) + f" | {issue:.0%} | {logic:.0%} |", flush=True)


if __name__ == "__main__":
    main()
