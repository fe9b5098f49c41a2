"""`mailbox:DIR`: each request is a Markdown file, and a person or an agent drops the answer beside it.

    DIR/README.md                     how to answer
    DIR/requests/1f2e3d4c-000012-0.md the question of iteration 12 of run 1f2e3d4c, first attempt
    DIR/leases/1f2e3d4c-000012-0      somebody is at work on it
    DIR/answers/1f2e3d4c-000012-0.md  the answer

Runs may share a folder: none takes what was answered to another. Files are the whole state, so a run that was killed
finds its questions, leases and answers as they stood.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from pathlib import Path

from vevolve.errors import BadInput, ProposerError
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Reply, Request
from vevolve.evolve.proposers.settings import ProposerSettings

MAX_ANSWER = 4 << 20
"""Bytes of an answer."""


class Mailbox:
    """Waits for as long as it takes for an answer to appear. Safe to use from several threads."""

    def __init__(self, folder: Path, settings: ProposerSettings) -> None:
        self.name = f"mailbox:{folder}"
        self.place = f"the mailbox {folder}"
        """As a user is told whose answers are waited for."""
        self.open_ended = True
        """A run that ends leaves its questions open, and finds them again when it resumes."""
        self._folder = folder
        self._lease, self._poll, self._settle = settings.lease, settings.poll, settings.settle
        self._closed = threading.Event()
        try:
            for part in ("requests", "leases", "answers"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            _replace(folder / "README.md", Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
        except OSError as error:
            raise ProposerError(f"The mailbox {folder} cannot be written: {error}. Name another folder.") from error

    def propose(self, request: Request) -> Reply:
        """Put the question, and return the answer when there is one.

        Raises:
            ProposerError: the folder cannot be written or read any more.
            ProposalFailed: the answer is too large, or the mailbox was closed.
        """
        id = "-".join([*filter(None, [request.run]), f"{request.iteration:06d}", f"{request.attempt}"])
        answer = _Answer(self._folder / "answers" / f"{id}.md", self._settle)
        try:
            self._put(id, request)
            while (text := answer.take()) is None:
                self._expire(self._folder / "leases" / id)
                if self._closed.wait(self._poll):
                    raise ProposalFailed(f"The mailbox {self._folder} was closed before request {id} was answered.")
            (self._folder / "leases" / id).unlink(missing_ok=True)
        except OSError as error:
            raise ProposerError(f"The mailbox {self._folder} failed: {error}.") from error
        return Reply(text=text, model="mailbox")

    def estimate(self, prompt: Prompt) -> float | None:
        """Nothing: whoever answers is not paid through here."""
        return 0.0

    def close(self) -> None:
        """End every wait. Open requests stay for the next session."""
        self._closed.set()

    def _put(self, id: str, request: Request) -> None:
        """Write the request, unless the same one stands there; set aside what belongs to another."""
        path, answer = self._folder / "requests" / f"{id}.md", self._folder / "answers" / f"{id}.md"
        print_ = _fingerprint(request.prompt)
        if path.is_file():
            if f"\nprompt: {print_}\n" in path.read_text(encoding="utf-8", errors="replace")[:1000]:
                return
            (self._folder / "leases" / id).unlink(missing_ok=True)
            if answer.exists():
                number = len(list(answer.parent.glob(f"{answer.name}.stale-*"))) + 1
                answer.rename(answer.with_name(f"{answer.name}.stale-{number}"))
        _replace(path, self._text(id, request, print_))

    def _text(self, id: str, request: Request, print_: str) -> str:
        return f"""\
---
id: {id}
iteration: {request.iteration}
attempt: {request.attempt}
operation: {request.operation}
run: {request.run}
prompt: {print_}
lease: leases/{id}
lease_seconds: {self._lease:g}
answer: answers/{id}.md
---

{request.prompt.system}

{request.prompt.user}
"""

    def _expire(self, lease: Path) -> None:
        try:
            age = time.time() - lease.stat().st_mtime
        except FileNotFoundError:
            return
        if age > self._lease:
            lease.unlink(missing_ok=True)


class _Answer:
    """A file that is taken once it holds something and has stopped changing."""

    def __init__(self, path: Path, settle: float) -> None:
        self._path, self._settle = path, settle
        self._state, self._since = (0, 0), 0.0

    def take(self) -> str | None:
        """The text, or None while there is none. Raises ProposalFailed where it is too large."""
        try:
            return self._settled()
        except FileNotFoundError:  # not there yet, or taken back while it was read
            return None

    def _settled(self) -> str | None:
        found = self._path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            return None
        state = _state(found)
        if state != self._state:
            self._state, self._since = state, time.monotonic()
        # The file's own age lets an answer from before a restart be taken at once; clocks of two machines may differ.
        if max(time.time() - found.st_mtime, time.monotonic() - self._since) < self._settle:
            return None
        if found.st_size > MAX_ANSWER:
            raise ProposalFailed(
                f"The answer {self._path} has {found.st_size:,} bytes; at most {MAX_ANSWER:,} are read."
            )
        text = self._path.read_text(encoding="utf-8", errors="replace")
        if _state(self._path.stat()) != state:  # somebody wrote while it was read
            return None
        return text if text.strip() else None


def _state(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _fingerprint(prompt: Prompt) -> str:
    return hashlib.sha256(f"{prompt.system}\0{prompt.user}".encode("utf-8", "replace")).hexdigest()[:16]


def _replace(path: Path, text: str) -> None:
    """Write a file that is either there as a whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8", errors="replace")
    draft.replace(path)


def open(argument: str, settings: ProposerSettings) -> Mailbox:
    """The mailbox in the folder `argument`, which is made.

    Raises:
        BadInput: no folder is named.
        ProposerError: it cannot be written.
    """
    if not argument:
        raise BadInput("A mailbox is named mailbox:FOLDER; found no folder.")
    return Mailbox(Path(argument), settings)


def absolute(argument: str) -> str:
    """The folder's absolute path."""
    return str(Path(argument).absolute())
