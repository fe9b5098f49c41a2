"""What a run found: an append-only log of events in SQLite, and the queries that draw conclusions from it."""

from vevolve.archive import events
from vevolve.archive.record import Record
from vevolve.archive.store import Archive

__all__ = ["Archive", "Record", "events"]
