"""What a sandboxed process is for: a candidate on the CPU, a candidate on one GPU, or a compiler of kernels.

All three put on the same layers. The profile of a GPU adds the device files of one GPU, the folder of the driver's
libraries, a view of its own in /proc, and the two families of ioctl that the driver answers; CUDA is initialised in
the child before the filter of system calls, which then refuses sockets as on the CPU. The profile of the compiler adds
the one program that it must run, and processes; it has no device and gets no data.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vevolve.errors import SandboxUnavailable

CUDA_BYTES = 1 << 30
"""Host memory of an initialised CUDA context and the libraries that it loads: 0.75 GiB of data on an H200."""
CONTROL = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""What every GPU's process opens besides the device itself."""
FIND_DRIVER = (
    "import ctypes\nctypes.CDLL('libcuda.so.1')\n"
    "print(next(line.split()[-1] for line in open('/proc/self/maps') if 'libcuda.so' in line))"
)


@dataclass(frozen=True)
class Profile:
    """Attributes:
    name: which filter of system calls.
    devices: files of devices that may be opened, read, written and controlled.
    folders: of the machine, besides Python's, that are mounted and may be read.
    executables: programs that may be executed.
    environment: of the warm process.
    inside: of each child.
    imports: modules that the warm process imports.
    extra_bytes: host memory that the machinery of the profile needs.
    descriptors: files that a process may have open.
    """

    name: Literal["cpu", "gpu", "build"] = "cpu"
    devices: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    inside: tuple[tuple[str, str], ...] = ()
    imports: tuple[str, ...] = ()
    extra_bytes: int = 0
    descriptors: int = 64

    def plan(self) -> dict[str, Any]:
        """What the warm process is told."""
        return {
            "profile": self.name,
            "devices": self.devices,
            "executables": self.executables,
            "inside": dict(self.inside),
            "imports": self.imports,
            "extra_bytes": self.extra_bytes,
            "descriptors": self.descriptors,
        }


CPU = Profile()


def gpu(number: int = 0) -> Profile:
    """A candidate on one GPU, which it sees as its only one.

    Args:
        number: of the device's file, as in /dev/nvidia0.

    Raises:
        SandboxUnavailable: there is no such GPU, or no driver; the message says which.
    """
    if number not in gpus():
        found = ", ".join(f"/dev/nvidia{other}" for other in gpus()) or "no device file"
        raise SandboxUnavailable(f"No GPU can be used: expected /dev/nvidia{number} and {CONTROL[1]}, found {found}.")
    folder = driver_folder()
    return Profile(
        name="gpu",
        devices=(*CONTROL, f"/dev/nvidia{number}"),
        folders=(folder,),
        # NVML answers whether there is a GPU without initialising CUDA, which a process that forks must not do.
        environment=(("PYTORCH_NVML_BASED_CUDA_CHECK", "1"), ("LD_LIBRARY_PATH", folder)),
        extra_bytes=CUDA_BYTES,
        descriptors=256,
    )


def build() -> Profile:
    """Triton's compiler.

    Raises:
        SandboxUnavailable: Triton or its assembler is not installed.
    """
    found = importlib.util.find_spec("triton")
    folder = Path(found.origin).parent / "backends" / "nvidia" / "bin" if found and found.origin else Path()
    programs = [folder / name for name in ("ptxas", "ptxas-blackwell") if (folder / name).is_file()]
    if not programs:
        raise SandboxUnavailable("Kernels cannot be compiled: Triton with its `ptxas` is not installed; see `doctor`.")
    return Profile(
        name="build",
        executables=(*map(str, programs), *_interpreters(programs)),
        # Relative to its folder, in which each child starts.
        inside=(("TRITON_CACHE_DIR", "cache"), ("TMPDIR", "."), ("HOME", "."), ("PATH", "")),
        imports=("triton", "triton.compiler", "triton.language"),
        extra_bytes=CUDA_BYTES,
    )


def gpus() -> tuple[int, ...]:
    """The numbers of the NVIDIA GPUs whose device files are here, with those that all of them need."""
    if not all(Path(path).exists() for path in CONTROL):
        return ()
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia[0-9]*"))
    return tuple(sorted(int(match.group(1)) for match in found if match))


@functools.cache
def driver_folder() -> str:
    """Where the driver's libraries lie. Asked of another process, so that none of ours loads them.

    Raises:
        SandboxUnavailable: they cannot be loaded.
    """
    done = subprocess.run([sys.executable, "-I", "-S", "-c", FIND_DRIVER], capture_output=True, text=True, timeout=60)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SandboxUnavailable(f"No GPU can be used: the driver's libcuda.so.1 cannot be loaded: {why}.")
    return os.path.realpath(Path(done.stdout.strip()).parent)


def _interpreters(programs: list[Path]) -> list[str]:
    """What the kernel loads to start dynamically linked programs. The same for all that Triton ships."""
    text = programs[0].read_bytes()[:4096]
    found = re.search(rb"/lib[0-9A-Za-z_./-]*ld-[0-9A-Za-z_.-]+", text)
    return [os.path.realpath(found.group().decode())] if found else []
