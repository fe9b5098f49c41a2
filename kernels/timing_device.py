"""The NVIDIA GPU on which something is timed: held alone, described, flushed, probed, and its rate of reading measured.

All of this runs in the process that asks. Nothing here is run by a candidate.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vevolve.errors import VEvolveError
from vevolve.kernels.timing_figures import Roofline

if TYPE_CHECKING:
    import torch

Answer = TypeVar("Answer")

TERABYTE = 1e12
DATA_SHEET = {
    "B200": 8.0,
    "GH200 480GB": 4.0,
    "H200": 4.8,
    "H100 80GB HBM3": 3.35,
    "H100 NVL": 3.9,
    "H100 PCIe": 2.0,
    "A100-SXM4-80GB": 2.039,
    "A100 80GB PCIe": 1.935,
    "A100-SXM4-40GB": 1.555,
    "L40S": 0.864,
    "L4": 0.3,
    "RTX 4090": 1.008,
    "RTX 3090": 0.936,
}
"""Name, as the driver ends it -> terabytes per second of its memory, from NVIDIA's data sheets."""
ASKED = ("name", "uuid", "driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
FLUSH = 4
"""Times the size of the L2 cache that is written to empty it."""
LAG_S = 2e-3
"""The most by which our clock may exceed the device's over one call: launching, and being woken at its end."""


def data_sheet(name: str) -> float:
    """Bytes per second that the maker names for a GPU's memory; 0 where it is not in the table."""
    found = [rate for key, rate in DATA_SHEET.items() if re.search(rf"\b{re.escape(key)}$", name)]
    return found[0] * TERABYTE if found else 0.0


def conditions(device: int = 0) -> dict[str, str]:
    """What a time depends on: the GPU, its clocks now and at most, and versions of the driver and the libraries.

    Raises:
        VEvolveError: `nvidia-smi` does not answer.
    """
    import torch

    asked = _smi(f"--query-gpu={','.join(ASKED)}", device)
    found = dict(zip(ASKED, (word.strip() for word in asked.split(",")), strict=True))
    return found | {"torch": str(torch.__version__), "triton": _triton(), "cuda": str(torch.version.cuda)}


def _triton() -> str:
    try:
        import triton  # type: ignore[import-untyped]
    except ImportError:
        return "none"
    return str(triton.__version__)


def _smi(query: str, device: int) -> str:
    command = ["nvidia-smi", query, "--format=csv,noheader", f"--id={device}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise VEvolveError(f"The GPU cannot be described: `{' '.join(command)}` failed: {error}.") from error
    return done.stdout.strip()


# -------------------------------------------------------------------------------------------------- exclusive use


@contextlib.contextmanager
def alone(name: str, folder: Path | None = None) -> Generator[None, None, None]:
    """Hold a device against all other timings on this machine.

    The lock is the kernel's, on a file that stays; it goes with the process that holds it.

    Args:
        name: of the device, such as its UUID.
        folder: where the file lies; the same for all who time.

    Raises:
        VEvolveError: another process holds it.
    """
    word = re.sub(r"[^A-Za-z0-9-]", "_", name)
    path = (folder or Path(tempfile.gettempdir())) / f"vevolve-device-{word}.lock"
    handle = _opened(path)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            words = f"The device {name} is held by another timing ({path}); wait until it has ended."
            raise VEvolveError(words) from error
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """A file that everybody may open. To one that is there, another user's say, many kernels refuse `O_CREAT`."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    before = os.umask(0)
    try:
        return os.open(path, flags | os.O_CREAT, 0o666)
    finally:
        os.umask(before)


def others(device: int, ours: Collection[int]) -> list[str]:
    """Processes besides ours that compute on a device, as the driver tells them: "pid name".

    Empty where there are none, and where the driver does not tell, as in most containers and virtual machines.
    """
    lines = _smi("--query-compute-apps=pid,process_name", device).splitlines()
    found = [line.partition(",") for line in lines if re.match(r"\s*\d+\s*,", line)]
    return [f"{pid.strip()} {name.strip()}" for pid, _, name in found if int(pid) not in ours]


# ------------------------------------------------------------------------------------------------- flush and probe


class Quiet:
    """Empties the L2 cache by writing a buffer several times its size, and tells how long that took.

    The cache is the device's, so this empties it for all processes. Work that another process left running shares the
    device with this write and makes it longer.
    """

    def __init__(self, device: int = 0) -> None:
        import torch

        self._torch = torch
        self._device = torch.device("cuda", device)
        size = torch.cuda.get_device_properties(self._device).L2_cache_size
        self._buffer = torch.zeros(FLUSH * size, dtype=torch.uint8, device=self._device)
        self()

    def __call__(self) -> float:
        """Seconds."""
        self._torch.cuda.synchronize(self._device)
        started = time.perf_counter()
        self._buffer.add_(1)
        self._torch.cuda.synchronize(self._device)
        return time.perf_counter() - started


def by_the_device(call: Callable[[], Answer]) -> tuple[Answer, float]:
    """A `Timer` by the device's events. Only for calls that run no code of a candidate on the host.

    Code on the device could in theory write to the events' memory, so our own clock must agree.

    Raises:
        VEvolveError: the two clocks disagree by more than launching explains.
    """
    import torch

    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    before = time.perf_counter()
    start.record()
    answer = call()
    stop.record()
    stop.synchronize()
    wall = time.perf_counter() - before
    seconds = float(start.elapsed_time(stop)) / 1e3
    if not 0 < seconds <= wall or wall - seconds > LAG_S:
        raise VEvolveError(
            f"The device's events say {seconds:.3g} s, our clock {wall:.3g} s: the time is not believed."
        )
    return answer, seconds


# ----------------------------------------------------------------------------------------------------- bandwidth


def roofline(device: int = 0, gigabytes: int = 8, rounds: int = 15) -> Roofline:
    """The rates of a device's memory: the highest that reading it reaches here, and the data sheet's.

    Several kernels that only read are tried, since no single one is the fastest on every GPU. Each figure is the best
    of `rounds`: a floor errs on the side of being low.
    """
    import torch

    place = torch.device("cuda", device)
    # What is read does not matter, as long as it is not all zeros, which some memories move faster.
    words = torch.randint(-(1 << 62), 1 << 62, (gigabytes << 27,), dtype=torch.int64, device=place)
    halves = words.view(torch.bfloat16)
    readers: list[Callable[[], Any]] = [words.sum, words.amax, words.view(torch.int32).amax, halves.amax]
    if (kernel := _reader(words)) is not None:
        readers.append(kernel)
    best = min(_fastest(reader, rounds) for reader in readers)
    name = torch.cuda.get_device_name(place)
    return Roofline(measured=words.nbytes / best, data_sheet=data_sheet(name))


def _fastest(call: Callable[[], Any], rounds: int) -> float:
    for _ in range(3):
        call()
    return min(by_the_device(call)[1] for _ in range(rounds))


def _reader(words: torch.Tensor) -> Callable[[], Any] | None:
    """A kernel of ours that reads and, as good as never, writes; None where Triton is not installed."""
    try:
        from vevolve.kernels.timing_reader import read
    except ImportError:
        return None
    return lambda: read(words)
