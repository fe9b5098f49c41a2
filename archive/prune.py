"""Drop what is bulky and no conclusion rests on: prompts and replies of iterations that ended.

Programs, verdicts, parents, ideas, counts of tokens and dollars stay. A pruned row keeps its hash, so that all rows
around it stay bound to each other; what it said can no longer be checked, and `log.is_pruned` tells it apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vevolve.archive import database, log
from vevolve.archive.store import Archive


@dataclass(frozen=True)
class Pruned:
    """What was dropped.

    Attributes:
        exchanges: prompts and replies that were dropped now.
        before: bytes of the database before.
        after: bytes of it now.
    """

    exchanges: int
    before: int
    after: int


def prune(path: Path) -> Pruned:
    """Drop prompts and replies of a run that nobody writes, and give the space back.

    Raises:
        ArchiveError: the run goes on, its chain of hashes is broken already, or the disk refuses.
    """
    with Archive.open(path, write=True) as archive:
        file = archive.path
        archive.verify()
    with database.explained(file, then="prune again"), database.lock(file):
        db = database.connect_writer(file)
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = file.stat().st_size
            found = db.execute(
                "SELECT seq, event FROM events WHERE kind = 'proposed' "
                "AND iteration IN (SELECT iteration FROM tells) ORDER BY seq"
            ).fetchall()
            wanted = [(seq, text) for seq, text in found if not log.is_pruned(text)]
            with database.transaction(db, file, then="prune again"):
                for seq, text in wanted:
                    row = {**json.loads(text), "system": log.PRUNED, "user": log.PRUNED, "reply": log.PRUNED}
                    plain = json.dumps(row, sort_keys=True, separators=(",", ":"))
                    db.execute("UPDATE events SET event = ? WHERE seq = ?", (plain, seq))
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            db.close()
        return Pruned(len(wanted), before, file.stat().st_size)
