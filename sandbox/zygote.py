"""A warm process that holds nothing worth stealing, from which candidates' processes are forked.

Run as a program by `vevolve.sandbox.warm`, with a clean environment and one socket. It imports the array library,
enters the namespaces that all children share, and then answers three requests, one packet each: fork a child, wait
for one to end, and (by the closing of the socket) go away.

It imports nothing of vevolve.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

SPAWN, WAIT = b"S", b"W"
WAITING = struct.Struct("<cI")
STARTED = struct.Struct("<iI")
"""Error number, process id."""
ENDED = struct.Struct("<iddQ")
"""Wait status, CPU seconds in user and in system mode, peak resident KiB."""

FAILED, OUT_OF_MEMORY = 70, 71
"""Exit codes of a child that cannot go on; the second where its candidate left no memory for a question or answer."""
PACKET = 1 << 20
HANDLES = 4
"""Channel, log, and a door of the control group in each of two hierarchies at most."""
FIRST_USER, USERS = 61184, 4336
"""Identities that no account has; each child takes one at random."""
SHARED = 8
"""Processes of one identity that a limit of threads leaves room for: an ordinary user's children share theirs."""
OTHERS = 8192
"""Tasks that a user may start elsewhere before a candidate without an identity of its own is refused threads."""


def _load(name: str) -> ModuleType:
    """A sibling file as a module of its bare name, without a package around it."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    from vevolve.sandbox import landlock, layers
elif __name__ == "__main__":
    landlock, layers = _load("landlock"), _load("layers")


class Hidden:
    """Finds none of the modules that a candidate may not read, so that an import fails as if they were not there."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """None: let the usual finders look."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class Zygote:
    """The state that all children are forked with."""

    def __init__(self, port: socket.socket, plan: dict[str, Any]) -> None:
        self.port = port
        self.plan = plan
        self.withheld: list[str] = plan["withhold"]
        self.layers: dict[str, str] = dict(plan["absent"])
        self.program = bytes.fromhex(plan["seccomp"])
        self.parent = os.pidfd_open(os.getppid())
        self.rules = -1
        self.user: int | None = None
        self.memory = self.tasks = 0
        self.device: bool = plan["profile"] == "gpu"
        self.child: ModuleType

    # -------------------------------------------------------------------------------------------------- before

    def prepare(self) -> None:
        """Enter what is shared and warm up. The order matters: a user namespace needs a single thread, the array
        library wants to see the machine once, and Landlock's rules stand for paths in the new root."""
        plan, noted = self.plan, self.layers
        privileged = layers.is_privileged()
        inside = not privileged and layers.attempt(noted, "user", layers.enter_user_namespace, self.withheld)
        sys.path.extend(plan["import_from"])
        sys.meta_path.insert(0, Hidden(plan["hidden"]))
        _load("wire")
        self.child = _load("child")
        if plan["arrays"] == "torch":
            _warm_torch()
        for name in plan["imports"]:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        layers.fold_memory()
        layers.be_first_to_go()
        self.memory = _address_space(data=self.device) + plan["memory_bytes"] + plan["extra_bytes"]
        self.tasks = layers.tasks_of(os.geteuid()) + OTHERS
        switches = not inside and layers.may_switch_users(FIRST_USER, USERS)
        if inside or privileged:
            layers.attempt(noted, "network", lambda: layers.unshare(layers.NEW_NETWORK), self.withheld)
            layers.attempt(noted, "hostname", layers.hide_hostname, self.withheld)
            # Its own view of /proc goes on top, which an ordinary user may mount only where it sees the machine's.
            folders = [*plan["folders"], "/proc"] if self.device else plan["folders"]
            files = [*plan["files"], *plan["devices"]]
            enter = lambda: layers.enter_root(folders, files, plan["links"])  # noqa: E731
            layers.attempt(noted, "mounts", enter, self.withheld)
            layers.attempt(noted, "processes", layers.try_pids, self.withheld)
            layers.attempt(noted, "ipc", lambda: layers.unshare(layers.NEW_IPC), self.withheld)
        else:
            for name in ("network", "hostname", "mounts", "processes", "ipc"):
                noted[name] = "absent: withheld" if name in self.withheld else "absent: no user namespace"
        if "user" in self.withheld:
            noted["user"] = "absent: withheld"
        elif switches:
            self._choose_user()
        noted.setdefault("user", "absent: this root may not change its identity")
        if "landlock" not in self.withheld:
            self._find_landlock()
        layers.attempt(noted, "no_new_privileges", layers.forbid_new_privileges, self.withheld)
        layers.drop_bounding_set()

    def _choose_user(self) -> None:
        reachable = self.layers["mounts"] == "active" or self.plan["reachable"]
        if self.plan["world_readable"] and reachable:
            self.user, self.layers["user"] = FIRST_USER, "active"
        else:
            self.layers["user"] = "absent: other users may not read the Python installation"

    def _find_landlock(self) -> None:
        try:
            version = landlock.abi()
        except OSError as error:
            self.layers["landlock"] = f"absent: {error.strerror}"
            return
        self.rules = self._write_rules([])
        self.layers["landlock_abi"] = str(version)

    def _write_rules(self, own: Sequence[str]) -> int:
        """A rule set, in which `own` are folders that a child may read and write."""
        plan = self.plan
        scratch = layers.SCRATCH if self.layers["mounts"] == "active" else None
        writable = [path for path in ("/dev/null",) if os.path.exists(path)]  # noqa: PTH110
        return landlock.ruleset(
            plan["readable"], plan["listable"], writable, scratch, own, plan["devices"], plan["executables"]
        )

    # -------------------------------------------------------------------------------------------------- serving

    def serve(self) -> None:
        """Answer requests until the trusted side is gone."""
        waiting = select.poll()
        waiting.register(self.port, select.POLLIN)
        waiting.register(self.parent, select.POLLIN)
        while True:
            ready = dict(waiting.poll())
            if self.parent in ready and self.port.fileno() not in ready:
                return
            message, handles, _, _ = socket.recv_fds(self.port, 64, HANDLES)
            if message[:1] == SPAWN:
                self._spawn(handles)
            elif message[:1] == WAIT:
                _, pid = WAITING.unpack(message)
                _, status, used = os.wait4(pid, 0)
                self.port.send(ENDED.pack(status, used.ru_utime, used.ru_stime, used.ru_maxrss))
            else:
                return

    def _spawn(self, handles: list[int]) -> None:
        try:
            pid = layers.fork(self.layers["processes"] == "active")
        except OSError as error:
            self.port.send(STARTED.pack(error.errno, 0))
        else:
            if pid == 0:
                self._become_child(*handles)
            watch = os.pidfd_open(pid)
            socket.send_fds(self.port, [STARTED.pack(0, pid)], [watch])
            os.close(watch)
        finally:
            for handle in handles:
                os.close(handle)

    def _become_child(self, channel: int, log: int, *doors: int) -> NoReturn:
        """Never returns: whatever happens, this process must not serve."""
        code = FAILED
        os.dup2(log, 2)
        try:
            noted = self._confine(channel, log, doors)
            # Those of the zygote believe that they write to a file, and keep what they hold back.
            sys.stdout = os.fdopen(1, "w", 1, "utf-8", "replace", closefd=False)
            sys.stderr = os.fdopen(2, "w", 1, "utf-8", "replace", closefd=False)
            runtime = self.child.Runtime(3, self.plan["arrays"], layers.be_undumpable, self.device)
            runtime.send(self.child.wire.READY, [json.dumps(noted).encode()])
            runtime.run()
        except MemoryError:
            code = OUT_OF_MEMORY
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _confine(self, channel: int, log: int, doors: Sequence[int]) -> dict[str, str]:
        """Put on the child's layers. Any that fails is fatal, unless the zygote knew it absent or it is withheld."""
        plan, withheld = self.plan, self.withheld
        noted = dict(self.layers)
        held: dict[str, str] = {}
        if doors:
            layers.attempt(held, "cgroup", lambda: layers.enter_group(doors), withheld)
        user = os.geteuid() if self.user is None else self.user + int.from_bytes(os.urandom(2), "little") % USERS
        if noted["ipc"] == "active":
            layers.unshare(layers.NEW_IPC)
        if noted["mounts"] == "active":
            layers.mount_scratch(plan["scratch_bytes"], user)
            if self.device:
                layers.attempt(held, "own_proc", layers.mount_processes, withheld)
        if self.device and self.rules >= 0:
            # CUDA fails without /proc/self, which is another file for each process.
            self.rules = self._write_rules([f"/proc/{os.readlink('/proc/self')}"])  # noqa: PTH115
        # Threads are counted for each identity, and only one that is its own may be held to a small number.
        threads = plan["threads"] + (SHARED if noted["user"] == "active" else self.tasks)
        bounds = self.memory, plan["cpu_s"], threads, plan["scratch_bytes"], plan["descriptors"], self.device
        bound = lambda: layers.limit(*bounds)  # noqa: E731
        layers.attempt(held, "limits", bound, withheld)
        layers.attempt(held, "session", lambda: os.setsid(), withheld)
        if self.user is not None:
            layers.become(user)
        layers.attempt(held, "capabilities", layers.drop_capabilities, withheld)
        layers.die_with_parent()
        if self.rules >= 0:
            layers.attempt(held, "landlock", lambda: layers.enforce_landlock(self.rules), withheld)
        elif "landlock" in withheld:
            held["landlock"] = "absent: withheld"
        layers.keep_only(channel, log)
        os.environ.clear()
        os.environ.update(plan["inside"])
        if self.device:
            _open_device()
            held["device"] = "active"
        if self.program:
            layers.attempt(held, "seccomp", lambda: layers.filter_system_calls(self.program), withheld)
        elif "seccomp" in withheld:
            held["seccomp"] = "absent: withheld"
        return noted | held


def _warm_torch() -> None:
    """Import torch, and let it look at the processor once, since no child can."""
    import torch

    torch.set_num_threads(1)
    square = torch.ones(16, 16)
    for made in (square @ square, torch.softmax(square, -1), square.topk(2).values, torch.randn(4).sort().values):
        made.sum().item()


def _open_device() -> None:
    """Initialise CUDA, its multiplication and its random numbers, before the filter of system calls: a context takes
    sockets, and a candidate gets none."""
    import torch

    torch.cuda.init()  # type: ignore[no-untyped-call]
    square = torch.randn(64, 64, device="cuda")
    for made in (square, square.half(), square.bfloat16()):
        (made @ made).sum().item()


def _address_space(data: bool) -> int:
    """Bytes of the address space, or of what is private and writable in it."""
    return int(Path("/proc/self/statm").read_text().split()[5 if data else 0]) * resource.getpagesize()


def main() -> None:
    """Prepare, say so, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    port = socket.socket(fileno=int(sys.argv[1]))
    zygote = Zygote(port, json.loads(port.recv(PACKET)))
    try:
        zygote.prepare()
    except OSError as error:
        port.send(json.dumps({"fatal": str(error)}).encode())
        return
    port.send(b"{}")
    zygote.serve()


if __name__ == "__main__":
    main()
