"""Triton source to machine code, in processes that hold nothing else: no data, no device, no network.

with Compiler() as compiler:
    kernel = compiler.compile(source, "add", {"x": "*fp32", "n": "i32", "BLOCK": "constexpr"}, {"BLOCK": 128})

What comes back is code for a GPU that nobody vouches for, like the text that it was made from. Whoever launches it does
so in a process that holds no reference answer, and believes none of the numbers here but as launch parameters.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from vevolve.sandbox import profiles
from vevolve.sandbox.subject import Sandbox
from vevolve.sandbox.warm import Limits
from vevolve.types import Arrays, Candidate, CandidateFault

MAX_BYTES = 16 << 20
MAX_SHARED = 256 << 10
"""More bytes of shared memory than any multiprocessor has."""
ELF, CUDA_MACHINE = b"\x7fELF", 190
ABI = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")

PROGRAM = """
import json, linecache, sys, types

import numpy as np
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def build(source, kernel, signature, constants, aligned, options, capability):
    file = "kernel.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    module = types.ModuleType("kernel")
    module.__file__ = file
    sys.modules["kernel"] = module
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    function = getattr(module, kernel)
    places = {name: place for place, name in enumerate(function.arg_names)}
    attributes = {(places[name],): [["tt.divisibility", 16]] for name in aligned}
    text = ASTSource(function, signature, constants, attributes)
    made = triton.compile(text, target=GPUTarget("cuda", capability, 32), options=options)
    found = made.metadata._asdict()
    names = ("num_warps", "shared", "global_scratch_size", "profile_scratch_size")
    told = {name: found.get(name) or 0 for name in names}
    told["name"] = found["name"]
    return {
        "code": np.frombuffer(made.asm["cubin"], np.uint8),
        "told": np.frombuffer(json.dumps(told).encode(), np.uint8),
    }
"""


@dataclass(frozen=True)
class Machine:
    """A compiled kernel.

    Attributes:
        name: of the function in the code.
        code: an ELF file for one GPU architecture.
        warps: of 32 threads, in a block.
        shared: bytes of dynamic shared memory.
        scratch: bytes of global memory that each block wants besides its arguments; of the profiler's too.
    """

    name: str
    code: bytes
    warps: int
    shared: int
    scratch: tuple[int, int]


class Compiler:
    """A warm process with Triton in it, from which one is forked for each kernel.

    Raises:
        SandboxUnavailable: Triton is missing, or this machine does not isolate to level L2.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits(call_s=60, memory_bytes=4 << 30, threads=32, scratch_bytes=64 << 20)
        self._sandbox = Sandbox("numpy", limits, minimum="L2", profile=profiles.build())
        self.containment = self._sandbox.containment

    def compile(
        self,
        source: str,
        kernel: str,
        signature: Mapping[str, str],
        constants: Mapping[str, int | float | bool | str | None] | None = None,
        aligned: Sequence[str] = (),
        capability: int = 90,
        **options: int,
    ) -> Machine:
        """Compile one function of a module.

        Args:
            source: the module's text. It is executed in the compiler's process.
            kernel: the name of a `@triton.jit` function in it.
            signature: type of each argument, as Triton names them: "*bf16", "i32", "constexpr".
            constants: values of the arguments that are "constexpr".
            aligned: arguments whose address or value is a multiple of 16, which the caller sees to.
            capability: of the GPU: 90 for 9.0.
            options: Triton's, such as `num_warps` and `num_stages`.

        Raises:
            CandidateFault: the source does not compile, or what came back is no kernel.
        """
        subject = self._sandbox.subject(Candidate(PROGRAM))
        arguments = (source, kernel, dict(signature), dict(constants or {}), list(aligned), options, capability)
        found = subject.call("build", *arguments, returns=Arrays(max_count=2, max_bytes=MAX_BYTES, max_dims=1))
        try:
            return _machine(found["code"].tobytes(), json.loads(found["told"].tobytes()))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CandidateFault("wrong", f"the compiler's process did not return a kernel: {error}") from error

    def close(self) -> None:
        """End the warm process."""
        self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _machine(code: bytes, told: Mapping[str, Any]) -> Machine:
    """What came back, checked. Raises ValueError, KeyError or TypeError."""
    if code[:4] != ELF or len(code) < 64 or struct.unpack_from("<H", code, 18)[0] != CUDA_MACHINE:
        raise ValueError("not an ELF file for a GPU")
    if not ABI.fullmatch(told["name"]):
        raise ValueError("the function's name is not one")
    return Machine(
        name=told["name"],
        code=code,
        warps=_within(told["num_warps"], 1, 32),
        shared=_within(told["shared"], 0, MAX_SHARED),
        scratch=(
            _within(told["global_scratch_size"], 0, 1 << 20),
            _within(told["profile_scratch_size"], 0, 1 << 20),
        ),
    )


def _within(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected an integer in [{low}, {high}], got {value!r:.40}")
    return value
