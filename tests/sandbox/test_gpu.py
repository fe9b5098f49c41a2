"""The profile of a GPU: what a candidate can do there, and what no layer gives way for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vevolve.sandbox import Limits, Sandbox, levels, probe, profiles
from vevolve.types import Array, Candidate, CandidateFault, Json, Seed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not profiles.gpus(), reason="needs an NVIDIA GPU: no /dev/nvidia0 here"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(limits=Limits(memory_bytes=4 << 30, call_s=30), profile=profiles.gpu()) as sandbox:
        yield sandbox


def test_all_layers_of_this_machine_hold_on_its_gpu(sandbox: Sandbox) -> None:
    layers, on_cpu = sandbox.containment.layers, probe()
    print(sandbox.containment)
    assert sandbox.containment.level == on_cpu.level
    assert layers["device"] == layers["descriptors"] == "active"
    assert {name: layers[name] for name in levels.ALL} == {name: on_cpu.layers[name] for name in levels.ALL}


def test_arguments_lie_on_the_device_and_answers_come_back(sandbox: Sandbox) -> None:
    text = (
        "import torch\ndef f(x, rng):\n    assert x.is_cuda and torch.cuda.device_count() == 1\n"
        "    torch.rand(4, generator=rng, device='cuda')\n    return x @ x.T"
    )
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("f4")
    found = sandbox.subject(Candidate(text)).call("f", x, rng=Seed(bytes(16)), returns=Array("f4", (64, 64)))
    assert np.allclose(found, x @ x.T, atol=1e-2)


WORK = """
import threading
import torch
def f():
    x = torch.randn(2048, 2048, device="cuda")
    y = (x @ x).relu().softmax(-1).topk(64).indices.sum() + x.sort(-1).values.cumsum(-1).sum().long()
    q = torch.randn(1, 8, 1024, 128, device="cuda", dtype=torch.bfloat16)
    y = y + torch.nn.functional.scaled_dot_product_attention(q, q, q).sum().long()
    streams = [torch.cuda.Stream() for _ in range(16)]
    for stream in streams:
        with torch.cuda.stream(stream): x * 2
    torch.cuda.synchronize()
    pinned = torch.empty(1 << 20, pin_memory=True)
    pinned.copy_(x.view(-1)[: 1 << 20], non_blocking=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph): x @ x
    graph.replay()
    thread = threading.Thread(target=lambda: (x @ x).sum().item())
    thread.start(); thread.join()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record(); x @ x; stop.record(); stop.synchronize()
    return [int(torch.isfinite(pinned).all()), start.elapsed_time(stop) > 0, int(torch.fft.rfft(x).abs().sum() > 0)]
"""


def test_what_pytorch_does_on_a_gpu_works_under_all_layers(sandbox: Sandbox) -> None:
    assert sandbox.subject(Candidate(WORK)).call("f", returns=Json()) == [1, True, 1]


PRELUDE = """
import ctypes, errno, glob, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)
def f(*args):
    try:
        return attack(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
def attack(*args):
"""

REFUSED = {
    "open a unix socket": ("socket.socket(socket.AF_UNIX)", {"EPERM"}),
    "open a tcp socket": ("socket.socket()", {"EPERM"}),
    "listen on what CUDA holds": ("for n in range(4, 200): socket.socket(fileno=n).listen()", {"EPERM", "EBADF"}),
    "run a shell": ("subprocess.run(['/bin/sh', '-c', 'id'])", {"EPERM", "ENOENT"}),
    "fork": ("return os.fork()", {"EPERM"}),
    "signal everyone": ("os.kill(-1, 9)", {"EPERM"}),
    "trace another": ("call('ptrace', 16, 1, 0, 0)", {"EPERM"}),
    "leave its namespaces": ("call('unshare', 0x10000000)", {"EPERM"}),
    "mount": ("call('mount', b'x', b'/', b'tmpfs', 0, None)", {"EPERM"}),
    "use rings": ("call('syscall', 425, 1, None)", {"EPERM"}),
    "read the accounts": ("return open('/etc/passwd').read()", {"EACCES", "ENOENT"}),
    "list devices": ("return os.listdir('/dev')", {"EACCES", "ENOENT"}),
    "open another device": ("return open('/dev/nvidia1', 'rb').read()", {"EACCES", "ENOENT"}),
    "open what sets modes": ("return open('/dev/nvidia-modeset', 'rb').read()", {"EACCES", "ENOENT"}),
    "list processes": ("return os.listdir('/proc')", {"EACCES", "ENOENT"}),
    "read the kernel's settings": ("return open('/proc/sys/kernel/hostname').read()", {"EACCES", "ENOENT"}),
    "write its own memory by file": ("os.pwrite(os.open('/proc/self/mem', os.O_RDWR), b'x', 0)", {"EACCES", "EIO"}),
    "write to shared memory": ("open('/dev/shm/x', 'w')", {"EACCES", "ENOENT"}),
    "overwrite torch": ("open(sys.modules['torch'].__file__, 'a')", {"EACCES", "EROFS"}),
    "control a terminal": ("import fcntl; fcntl.ioctl(0, 0x5412, b'x')", {"EPERM"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forbidden_acts_are_refused_with_a_device_too(name: str, sandbox: Sandbox) -> None:
    body, errors = REFUSED[name]
    text = PRELUDE + textwrap.indent(body, "    ")
    assert sandbox.subject(Candidate(text)).call("f", returns=Json()) in errors


def test_a_memory_bomb_of_the_host_is_a_fault_of_resources(sandbox: Sandbox) -> None:
    for body in ("held = bytearray(64 << 30)", "held = []\n    while True: held.append(bytearray(1 << 26))"):
        with pytest.raises(CandidateFault) as caught:
            sandbox.subject(Candidate(f"def f():\n    {body}")).call("f", returns=Json())
        assert caught.value.status == "resource"


def test_nothing_of_a_process_is_left_on_the_device(sandbox: Sandbox) -> None:
    import torch

    text = "import torch\ndef f():\n    global held\n    held = torch.ones(1 << 33, device='cuda', dtype=torch.uint8)"
    before = torch.cuda.mem_get_info()[0]
    with sandbox.subject(Candidate(text)).fresh() as process:
        process.call("f", returns=Json())
        child, within = process.pid, torch.cuda.mem_get_info()[0]
    assert within < before - (1 << 32) and abs(torch.cuda.mem_get_info()[0] - before) < 1 << 28
    assert not Path(f"/proc/{child}").exists()


def test_a_machine_code_from_the_compilers_process_runs_here() -> None:
    import ctypes

    import torch

    from vevolve.kernels.timing_poison import Poison
    from vevolve.sandbox.compiler import Compiler

    source = """
import triton
import triton.language as tl
@triton.jit
def add(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, at < n) + 1, at < n)
"""
    with Compiler() as compiler:
        signature = {"x": "*fp32", "y": "*fp32", "n": "i32", "BLOCK": "constexpr"}
        made = compiler.compile(source, "add", signature, {"BLOCK": 128}, ["x", "y"])
    x, y = torch.randn(1000, device="cuda"), torch.empty(1000, device="cuda")
    driver = ctypes.CDLL("libcuda.so.1")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    assert driver.cuModuleLoadData(ctypes.byref(module), made.code) == 0
    assert driver.cuModuleGetFunction(ctypes.byref(function), module, made.name.encode()) == 0

    def launch(n: int) -> int:
        values = [ctypes.c_uint64(x.data_ptr()), ctypes.c_uint64(y.data_ptr()), ctypes.c_int32(n)]
        values += [ctypes.c_uint64(0), ctypes.c_uint64(0)]
        given = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        threads = 32 * made.warps
        poison.fill(y)
        torch.cuda.synchronize()
        assert driver.cuLaunchKernel(function, 8, 1, 1, threads, 1, 1, made.shared, None, given, None) == 0
        torch.cuda.synchronize()
        return poison.left(y)

    poison = Poison()
    assert launch(1000) == 0 and torch.equal(y, x + 1)
    assert launch(900) == 100
