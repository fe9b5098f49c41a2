"""A run's directory: the archive, the secret seed and the settings.

    runs/<UTC time>-<problem>-<seed>-<short id>/
        archive.db    the event log and its tables
        seed.key      128 secret bits in hex, readable by their owner alone; their sha256 stands in the archive
        config.toml   the settings as they were last used, for people to read

The archive's own lock keeps a second driver out.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vevolve.archive import Archive, database, notes
from vevolve.archive.events import Resumed, Started
from vevolve.errors import ArchiveError, BadInput, UnknownName
from vevolve.evolve.config import Config, to_toml
from vevolve.types import Seed

RUNS = Path("runs")
"""Where runs are kept and looked for: under the working directory."""


@dataclass(frozen=True)
class RunDirectory:
    """Where one run is kept."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.resolve().name

    @property
    def archive(self) -> Path:
        """The database."""
        return self.path / database.FILE

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        return self.archive.is_file()

    def files(self) -> list[Path]:
        """Those that a run keeps, whether they are there or not."""
        return [*database.files(self.archive), self.path / "seed.key", self.path / "config.toml"]

    @classmethod
    def choose(cls, config: Config, problem: str, seed: str, root: Path = RUNS) -> RunDirectory:
        """Where a new run will be kept: `config.directory`, or a new name under `root`. Nothing is written yet.

        Raises:
            BadInput: the directory already holds a run, or another's file of a name that a run needs.
        """
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
        name = "-".join([stamp, _plain(problem), _plain(seed), secrets.token_hex(2)])
        path = Path(config.directory) if config.directory else root / name
        directory = cls(path)
        if directory.is_run:
            raise BadInput(
                f"{path} already holds a run; go on with `vevolve resume {path}`, or name another directory."
            )
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path} is a file; a run is kept in a directory: name another.")
        taken = [file.name for file in directory.files() if file.exists()]
        if taken:
            raise BadInput(
                f"{path} already holds {' and '.join(taken)}, which a run would overwrite; name another directory, or "
                "move what is there."
            )
        return directory

    def make(self, config: Config) -> Seed:
        """Make the directory with a fresh secret seed, which is returned. Raises `BadInput` where that fails."""
        secret = Seed.fresh()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as undo:
                for name, text, mode in (
                    ("seed.key", secret.key.hex() + "\n", 0o600),
                    ("config.toml", to_toml(config), 0o644),
                ):
                    path = self.path / name
                    with open(path, "x", encoding="utf-8", opener=functools.partial(os.open, mode=mode)) as file:
                        undo.callback(path.unlink)
                        file.write(text)
                undo.pop_all()
        except OSError as error:
            raise BadInput(f"Cannot write the run's directory {self.path}: {error.strerror}.") from error
        return secret

    def discard(self) -> None:
        """Undo `make`, where the run did not begin after all."""
        for name in ("seed.key", "config.toml"):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def own_files(self, archive: Archive) -> list[Path]:
        """Those files here that are the run's beyond doubt: a secret or settings that its log does not know are not."""
        key, settings = self.path / "seed.key", self.path / "config.toml"
        beside = [*database.files(self.archive), notes.file_of(self.archive)]
        own = [file for file in beside if file.exists()]
        with contextlib.suppress(ArchiveError):
            own += [key] if commitment(self.secret()) == archive.started.seed_commitment else []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            own += [settings] if settings.read_text(encoding="utf-8") in set(_settings_of(archive)) else []
        return own

    def write_config(self, config: Config, archive: Archive) -> None:
        """Store the settings for people to read; a run goes on from its event log, never from this file.

        A file that somebody changed stays as it is.
        """
        path = self.path / "config.toml"
        if not path.exists() or path in self.own_files(archive):
            path.write_text(to_toml(config), encoding="utf-8")

    def secret(self) -> Seed:
        """The run's secret seed. Raises `ArchiveError` where the file is missing or damaged."""
        path = self.path / "seed.key"
        try:
            key = bytes.fromhex(path.read_text())
        except (OSError, ValueError) as error:
            raise ArchiveError(
                f"The run's secret seed {path} cannot be read ({error}); without it no resume."
            ) from error
        if len(key) != 16:
            raise ArchiveError(f"The run's secret seed {path} must hold 128 bits; found {8 * len(key)}.")
        return Seed(key)


def commitment(secret: Seed) -> str:
    """What is published of a secret seed at once: its sha256."""
    return hashlib.sha256(secret.key).hexdigest()


def find_run(name: str | None = None, root: Path = RUNS) -> RunDirectory:
    """The run of that name, unique part of a name, or path.

    Without a name, the newest under `root`; where there is none, the one in the working directory.

    Raises:
        UnknownName: there is none, or several; the message offers the nearest.
        BadInput: no name was given, and no run is there.
    """
    runs = sorted((path for path in root.glob("*") if RunDirectory(path).is_run), key=_age)
    if name is None or name == "latest":
        found = runs or [path for path in [Path()] if RunDirectory(path).is_run]
        if not found:
            raise BadInput(
                f"No runs under ./{root} yet; start one with `vevolve run sparse_decode/vattention`, or name a run's "
                "directory."
            )
        return RunDirectory(found[-1])
    direct = Path(name)
    if direct.name == database.FILE:
        direct = direct.parent
    if RunDirectory(direct).is_run:
        return RunDirectory(direct)
    matches = [path for path in runs if path.name == name] or [path for path in runs if name and name in path.name]
    if len(matches) != 1:
        raise UnknownName("run" if not matches else "single run", name, [path.name for path in matches or runs])
    return RunDirectory(matches[0])


def _settings_of(archive: Archive) -> Iterator[str]:
    """What `config.toml` held in each session."""
    for entry in archive.events(kinds=("started", "resumed")):
        if isinstance(entry.event, Started | Resumed):
            with contextlib.suppress(ValueError):  # settings of another version
                yield to_toml(Config(**entry.event.config))


def _age(path: Path) -> tuple[int, str]:
    files = database.files(path / database.FILE)[:2]  # reading touches the others
    return max(file.stat().st_mtime_ns for file in files if file.exists()), path.name


def _plain(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.")[:40] or "unnamed"
