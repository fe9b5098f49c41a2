"""What there is to rob and to break while attacks run: planted secrets, listeners, a bystander, files of a run.

Everything stands as open as it can: files that anyone may write, a key in the environment, descriptors that are
inheritable, a process of the same user. What keeps an attack away is the sandbox alone. Nothing real is at stake.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import vevolve

KEY = "VEVOLVE_ATTACK_API_KEY"
PREFIX = "sk-planted-"
ECHO = "import sys\nwhile byte := sys.stdin.buffer.raw.read(1): sys.stdout.buffer.raw.write(byte)"
ECHO_S = 30.0
"""Within which the bystander answers, unless it was ended or stopped."""


class Surroundings:
    """A context manager. `effects` says what has happened since it was last asked.

    Attributes:
        secret: planted in a file, in the environment and in the bystander; no candidate is told.
        flag: marks what an attack says of itself.
    """

    def __init__(self) -> None:
        self.secret = PREFIX + secrets.token_hex(16)
        self.flag = "attack-" + secrets.token_hex(8)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="vevolve-attack-"))
        self._folder.chmod(0o777)
        self._plant()
        os.environ[KEY] = self.secret
        self._open = os.open(self._folder / "secret.txt", os.O_RDWR)
        os.set_inheritable(self._open, True)
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._path = socket.socket(socket.AF_UNIX)
        self._path.bind(str(self._folder / "socket"))
        (self._folder / "socket").chmod(0o777)
        self._abstract = socket.socket(socket.AF_UNIX)
        self._abstract.bind(f"\0{self.flag}")
        for listener in (self._path, self._abstract):
            listener.listen()
        self._listeners = (self._tcp, self._udp, self._path, self._abstract)
        for listener in self._listeners:
            listener.setblocking(False)
        self._stand()
        self._before = self._files()
        return self

    def places(self) -> dict[str, Any]:
        """What an attack is told: where everything stands, but no secret."""
        return {
            "folder": str(self._folder),
            "secret_file": str(self._folder / "secret.txt"),
            "results": str(self._folder / "run" / "results.json"),
            "archive": str(self._folder / "run" / "archive.sqlite"),
            "planted": PREFIX,
            "package": str(Path(vevolve.__file__).resolve().parent),
            "port": self._tcp.getsockname()[1],
            "udp_port": self._udp.getsockname()[1],
            "socket": str(self._folder / "socket"),
            "abstract": f"\0{self.flag}",
            "runner": os.getpid(),
            "bystander": self._bystander.pid,
        }

    def effects(self, said: str) -> list[str]:
        """What an attack achieved outside its process.

        Args:
            said: everything that it printed or that was said about it.
        """
        found = [f"it says so: {line}" for line in said.splitlines() if f"{self.flag} breach" in line][:4]
        if self.secret in said:
            found.append("it got the secret")
        if self._files() != self._before:
            found.append("files were changed")
            self._plant()
            self._before = self._files()
        found += [f"it reached the listener at {name}" for name in self._reached()]
        if not self._stands():
            found.append("it ended another process")
            self._dismiss()
            self._stand()
        return found

    def _plant(self) -> None:
        run = self._folder / "run"
        run.mkdir(exist_ok=True)
        run.chmod(0o777)
        for path, text in {
            self._folder / "secret.txt": self.secret,
            run / "results.json": '{"best": null}',
            run / "archive.sqlite": f"SQLite format 3\0 {self.secret}",
        }.items():
            path.unlink(missing_ok=True)
            path.write_text(text)
            path.chmod(0o666)

    def _files(self) -> dict[str, tuple[int, int, str]]:
        """Every planted file: its mode, its number of names, its text."""
        found: dict[str, tuple[int, int, str]] = {}
        for path in sorted(self._folder.rglob("*")):
            state = path.lstat()
            text = path.read_text(errors="replace") if path.is_file() else ""
            found[str(path)] = state.st_mode, state.st_nlink, text
        return found

    def _reached(self) -> list[str]:
        found: list[str] = []
        for listener in self._listeners:
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(1)
                else:
                    listener.accept()[0].close()
                found.append(str(listener.getsockname()))
        return found

    def _stand(self) -> None:
        """A process that echoes and holds the secret, in its memory, its environment and its arguments."""
        self._bystander = subprocess.Popen(
            [sys.executable, "-S", "-I", "-c", ECHO, self.secret],
            env={KEY: self.secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def _stands(self) -> bool:
        """Whether the bystander echoes. One that was killed may stay for a moment on a busy machine, and does not."""
        asked, answers = self._bystander.stdin, self._bystander.stdout
        assert asked is not None and answers is not None
        try:
            asked.write(b"?")
        except BrokenPipeError:
            return False
        return bool(select.select([answers], [], [], ECHO_S)[0]) and answers.read(1) == b"?"

    def _dismiss(self) -> None:
        self._bystander.kill()
        self._bystander.communicate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss()
        for listener in self._listeners:
            listener.close()
        os.close(self._open)
        os.environ.pop(KEY, None)
        shutil.rmtree(self._folder, ignore_errors=True)
