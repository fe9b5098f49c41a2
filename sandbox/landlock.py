"""Landlock by raw system calls: which files a process may open, that it binds and connects no TCP port, and that it
signals nothing outside.

The access rights of every kernel interface version (ABI) are declared, so that what this list does not grant is
refused. A path that cannot be added raises: a rule set with a hole in it is never used.
Source: linux/landlock.h, ABI 1 (5.13) to 6 (6.12).

The zygote loads this file by path, so it imports nothing of vevolve.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from pathlib import Path

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
ASK_VERSION = 1
PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG, REFER, TRUNCATE, CONTROL = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15

HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By ABI: every file access right that it knows."""

TCP = 0b11
SCOPES = 0b11
"""Abstract unix sockets and signals."""

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version that the kernel speaks. Raises OSError where it has none."""
    return _call(CREATE, None, ctypes.c_size_t(0), ASK_VERSION)


def ruleset(
    readable: Sequence[str],
    listable: Sequence[str],
    writable: Sequence[str],
    scratch: str | None,
    own: Sequence[str] = (),
    devices: Sequence[str] = (),
    executable: Sequence[str] = (),
) -> int:
    """A rule set's descriptor, to be enforced later by `enforce`.

    Args:
        readable: files, and folders with everything below them, that may be read.
        listable: folders whose names, and all names below, may be listed.
        writable: files, such as /dev/null, that may be read and written.
        own: folders whose files may be read and written, such as /proc/self, where CUDA names its threads.
        scratch: a folder in which files and folders may be made, written and removed.
        devices: files that may be read, written and controlled by ioctl(2).
        executable: programs that may be read and executed.

    Raises:
        OSError: the kernel has no Landlock, or a path cannot be added; the path is in the error.
    """
    version = abi()
    handled = HANDLED[min(version, 5)]
    sizes = 8 if version < 4 else 16 if version < 6 else 24
    attributes = struct.pack("QQQ", handled, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)[:sizes]
    rules = _call(CREATE, attributes, ctypes.c_size_t(sizes), 0)
    try:
        for path in readable:
            _allow(rules, path, READ_FILE | READ_DIR if Path(path).is_dir() else READ_FILE)
        for path in listable:
            _allow(rules, path, READ_DIR)
        for path in writable:
            _allow(rules, path, READ_FILE | WRITE_FILE)
        for path in own:
            _allow(rules, path, (READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE) & handled)
        for path in devices:
            _allow(rules, path, (READ_FILE | WRITE_FILE | CONTROL) & handled)
        for path in executable:
            _allow(rules, path, READ_FILE | EXECUTE)
        if scratch is not None:
            rights = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
            # A compiler moves what it has made from one folder to another.
            rights |= REFER if executable else 0
            _allow(rules, scratch, rights & handled)
    except OSError:
        os.close(rules)
        raise
    return rules


def enforce(rules: int) -> None:
    """Bind this process, for good, to a rule set. Needs no-new-privileges. Raises OSError."""
    _call(RESTRICT, rules, 0)


def _allow(rules: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    except OSError as error:
        raise OSError(error.errno, f"Landlock rule for {path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(handle)


def _call(number: int, *args: object) -> int:
    result = _libc.syscall(number, *args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)
