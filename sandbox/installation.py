"""Which files of the Python installation a candidate may read: the standard library, the array libraries with what
they require, and the system's shared libraries.

A list of what is allowed. Other packages are left out, because a problem's package holds its evaluator and its data.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import stat
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "torch", "triton")
"""Distributions that may be imported. Not every build of torch requires Triton, whose interpreter runs on a CPU."""
LEFT_OUT = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip", "__pycache__"}
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
DEVICES = ("/dev/null", "/dev/urandom")


@dataclass(frozen=True)
class Installation:
    """Where a candidate's process finds Python.

    Attributes:
        folders: what the private root file system holds, none inside another.
        links: symbolic links of the machine that lead there, and their targets.
        files: single files that it holds.
        readable: files and folders whose contents may be read.
        listable: folders in which names may be looked up.
        import_from: folders of third-party packages, for `sys.path`.
        hidden: the modules in those folders that may not be imported.
        world_readable: whether any user may read all of it, once inside.
        reachable: whether any user gets there by the machine's own folders.
    """

    folders: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    readable: tuple[str, ...]
    listable: tuple[str, ...]
    import_from: tuple[str, ...]
    hidden: tuple[str, ...]
    world_readable: bool
    reachable: bool


@functools.cache
def installation(libraries: tuple[str, ...] = LIBRARIES, also: tuple[str, ...] = ()) -> Installation:
    """That of the running interpreter.

    Args:
        libraries: distributions that may be imported, with what they require.
        also: folders of shared libraries elsewhere, such as a driver's.
    """
    standard = Path(os.__file__).parent
    packages: dict[Path, set[str]] = {}
    for distribution in _closure(libraries):
        # Its first column; `distribution.files` would make a path of each of torch's 15,000 lines.
        entries = {
            re.split("[/,]", line, maxsplit=1)[0] for line in (distribution.read_text("RECORD") or "").split("\n")
        }
        packages.setdefault(Path(str(distribution.locate_file(""))), set()).update(entries - {"", "..", "__pycache__"})
    readable = [entry for entry in standard.iterdir() if entry.name not in LEFT_OUT]
    readable += [folder / name for folder, names in packages.items() for name in names]
    readable += [entry for entry in standard.parent.iterdir() if ".so" in entry.name]
    readable += [Path(path) for path in also]
    system = [Path(path) for path in (*SYSTEM, *also) if Path(path).is_dir()]
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for folder in {path.resolve() for path in system}:
        readable += [entry for entry in folder.iterdir() if ".so" in entry.name or entry.name == multiarch]
    readable = sorted({path for path in readable if path.exists()})
    # Some entries of a system's libraries and Python are links to elsewhere, such as /etc, some by way of a link that
    # the private root does not hold: rules are for what is at the end.
    linked = {path.resolve() for path in readable if path.is_symlink()}

    visible = [standard, *packages, standard.parent if _has_libraries(standard.parent) else standard, *system]
    files = [path for path in (*DEVICES, "/etc/ld.so.cache") if Path(path).exists()]
    links = {(str(path), str(path.resolve())) for path in visible if path.resolve() != path}
    shown = _modules(name for names in packages.values() for name in names)
    folders = _outermost({path.resolve() for path in visible} | {path for path in linked if path.is_dir()})
    stray = (path for path in linked if not any(path.is_relative_to(folder) for folder in folders))
    files = [*files, *(str(path) for path in sorted(stray))]
    return Installation(
        folders=tuple(map(str, folders)),
        links=tuple(sorted(link for link in links if not any(Path(link[0]).is_relative_to(path) for path in folders))),
        files=tuple(files),
        readable=tuple(
            sorted({str(path.resolve()) for path in readable} | {path for path in files if path != "/dev/null"})
        ),
        listable=tuple(map(str, [standard, *packages])),
        import_from=tuple(map(str, packages)),
        hidden=tuple(_modules(entry.name for folder in packages for entry in folder.iterdir()) - shown),
        world_readable=all(_open_to_all(path) for path in [*readable, standard, *packages]),
        reachable=all(_open_to_all(parent) for path in [standard, *packages] for parent in path.resolve().parents),
    )


def drivers() -> tuple[str, ...]:
    """The distributions of CUDA's libraries: which of them torch loads is behind extras and markers."""
    names = (found.metadata["Name"] or "" for found in importlib.metadata.distributions())
    return tuple(sorted({name for name in names if name.lower().startswith("nvidia")}))


def _closure(names: tuple[str, ...]) -> list[importlib.metadata.Distribution]:
    """These distributions and all that they require without an extra, where installed."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in found[name].requires or ():
            if "extra ==" not in requirement and (match := re.match(r"[A-Za-z0-9._-]+", requirement)):
                waiting.append(match.group())
    return list(found.values())


def _modules(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _has_libraries(folder: Path) -> bool:
    return any(".so" in entry.name for entry in folder.iterdir())


def _outermost(paths: set[Path]) -> list[Path]:
    return sorted(path for path in paths if not any(other in paths for other in path.parents))


def _open_to_all(path: Path) -> bool:
    mode = path.stat().st_mode
    return bool(mode & stat.S_IROTH) and (not stat.S_ISDIR(mode) or bool(mode & stat.S_IXOTH))
