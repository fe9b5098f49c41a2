"""A run's directory: the archive, the secret seed and the settings.

    runs/<UTC time>-<problem>-<seed>-<short id>/
        archive.db    the event log and its tables
        seed.key      128 secret bits in hex, readable by their owner alone; their sha256 stands in the archive
        config.toml   the settings as they were last used, for people to read

The archive's own lock keeps a second driver out.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

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
        return self.path / "archive.db"

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        return self.archive.is_file()

    @classmethod
    def choose(cls, config: Config, problem: str, seed: str, root: Path = RUNS) -> RunDirectory:
        """Where a new run will be kept: `config.directory`, or a new name under `root`. Nothing is written yet.

        Raises:
            BadInput: the directory already holds a run.
        """
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
        name = "-".join([stamp, _plain(problem), _plain(seed), secrets.token_hex(2)])
        path = Path(config.directory) if config.directory else root / name
        directory = cls(path)
        if directory.is_run:
            raise BadInput(
                f"{path} already holds a run; go on with `vevolve resume {path}`, or name another directory."
            )
        return directory

    def make(self, config: Config) -> Seed:
        """Make the directory with a fresh secret seed, which is returned. Raises `BadInput` where that fails."""
        secret = Seed.fresh()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "seed.key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(secret.key.hex() + "\n")
            self.write_config(config)
        except OSError as error:
            raise BadInput(f"Cannot write the run's directory {self.path}: {error.strerror}.") from error
        return secret

    def write_config(self, config: Config) -> None:
        """Store the settings for people to read; a run goes on from its event log, never from this file."""
        (self.path / "config.toml").write_text(to_toml(config), encoding="utf-8")

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
    """The run of that name, unique part of a name, or path; without one, the newest under `root`.

    Raises:
        UnknownName: there is none, or several; the message offers the nearest.
    """
    runs = sorted((path for path in root.glob("*") if RunDirectory(path).is_run), key=_age)
    if name is None or name == "latest":
        if not runs:
            raise UnknownName("run", "latest", [])
        return RunDirectory(runs[-1])
    direct = Path(name)
    if direct.name == "archive.db":
        direct = direct.parent
    if RunDirectory(direct).is_run:
        return RunDirectory(direct)
    matches = [path for path in runs if path.name == name] or [path for path in runs if name and name in path.name]
    if len(matches) != 1:
        raise UnknownName("run" if not matches else "single run", name, [path.name for path in matches or runs])
    return RunDirectory(matches[0])


def _age(path: Path) -> tuple[int, str]:
    files = [path / "archive.db", path / "archive.db-wal"]
    return max(file.stat().st_mtime_ns for file in files if file.exists()), path.name


def _plain(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_.")[:40] or "unnamed"
