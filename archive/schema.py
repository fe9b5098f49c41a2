"""The tables of a run's database.

`events` is the log and the only source; every other table is a fold of it and can be made again. So a new schema
version needs no migration script: a database of an older version has its tables folded anew, see
`vevolve.archive.store`. Long texts (prompts, replies, whole verdicts) stand in the log alone; views show them.

sqlite-utils writes the schema. It is imported where it is used, because it imports numpy where numpy is installed
and would make every reader slower to start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vevolve.types import Objective

VERSION = 1
"""Of the tables; `PRAGMA user_version` of a database."""

APPLICATION = 0x7645766F
"""`PRAGMA application_id` of a database, which tells ours from others: "vEvo"."""


@dataclass(frozen=True)
class Table:
    """Columns with their Python types, the primary key, and what is looked up by other columns."""

    columns: dict[str, Any]
    pk: str | tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()


LOG = {
    "events": Table(
        {"seq": int, "time": float, "kind": str, "iteration": int, "event": str, "hash": str},
        pk="seq",
        indexes=(("kind",),),
    ),
}

FOLD = {
    "asks": Table(
        {"iteration": int, "seq": int, "operation": str, "proposer": str, "parents": str, "donors": str},
        pk="iteration",
    ),
    "proposals": Table(
        {
            "seq": int,
            "iteration": int,
            "attempt": int,
            "proposer": str,
            "model": str,
            "usd": float,
            "input_tokens": int,
            "output_tokens": int,
            "seconds": float,
            "error": str,
        },
        pk="seq",
        indexes=(("iteration",),),
    ),
    "tells": Table(
        {"seq": int, "iteration": int, "candidate": str, "status": str, "operation": str, "proposer": str},
        pk="seq",
        indexes=(("iteration",), ("candidate",)),
    ),
    "candidates": Table(
        {
            "id": str,
            "seq": int,
            "iteration": int,
            "time": float,
            "operation": str,
            "proposer": str,
            "idea": str,
            "status": str,
            "valid": int,
            "promoted": int,
            "reference": int,
            "hypervolume_gain": float,
            "first_error_line": str,
            "tree_hash": str,
            "source": str,
            "params": bytes,
        },
        pk="id",
        indexes=(("seq",), ("tree_hash",), ("status",)),
    ),
    "parents": Table(
        {"candidate": str, "position": int, "parent": str},
        pk=("candidate", "position"),
        indexes=(("parent", "candidate"),),
    ),
    "verdicts": Table(
        {
            "candidate": str,
            "split": str,
            "seq": int,
            "iteration": int,
            "valid": int,
            "status": str,
            "stage": str,
            "feedback": str,
            "wall_s": float,
            "cpu_s": float,
            "processes": int,
            "level": str,
            "problem": str,
        },
        pk=("candidate", "split"),
        indexes=(("seq",),),
    ),
    "points": Table(
        {
            "candidate": str,
            "split": str,
            "position": int,
            "family": str,
            "label": str,
            "iteration": int,
            "figures": str,
        },
        pk=("candidate", "split", "position"),
    ),
}

VIEWS = {
    "exchanges": """
        SELECT proposals.*, json_extract(event, '$.system') AS system, json_extract(event, '$.user') AS user,
               json_extract(event, '$.reply') AS reply
        FROM proposals JOIN events USING (seq)""",
    "full_verdicts": """
        SELECT verdicts.*, json_extract(event, '$.verdict') AS verdict FROM verdicts JOIN events USING (seq)""",
}


def create(db: sqlite3.Connection, objectives: Sequence[Objective]) -> None:
    """Create log, tables and views in an empty database, inside the transaction that is open."""
    create_tables(db, LOG)
    create_fold(db, objectives)
    db.execute(f"PRAGMA application_id = {APPLICATION}")


def create_fold(db: sqlite3.Connection, objectives: Sequence[Objective]) -> None:
    """Create the tables and views that are folded from the log."""
    create_tables(db, FOLD)
    values = ", ".join(f"""json_extract(figures, '$."{_word(o.name)}"') AS "{_word(o.name)}\"""" for o in objectives)
    columns = "candidate, split, family, label, iteration" + (f", {values}" if values else "")
    for name, select in {**VIEWS, "operating_points": f"SELECT {columns} FROM points"}.items():
        db.execute(f"CREATE VIEW {name} AS {select}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def drop_fold(db: sqlite3.Connection) -> None:
    """Drop everything but the log, whatever version it was."""
    found = db.execute("SELECT type, name FROM sqlite_master WHERE type IN ('view', 'table')").fetchall()
    for kind, name in sorted(found, reverse=True):
        if name not in LOG and not name.startswith("sqlite_"):
            db.execute(f'DROP {kind} "{name}"')


def create_tables(db: sqlite3.Connection, tables: dict[str, Table]) -> None:
    """Create tables and their indexes."""
    from sqlite_utils import Database

    database = Database(db, execute_plugins=False)
    for name, table in tables.items():
        db.execute(database.create_table_sql(name, table.columns, pk=table.pk))
        for columns in table.indexes:
            db.execute(f"CREATE INDEX {name}_by_{'_'.join(columns)} ON {name} ({', '.join(columns)})")


def _word(name: str) -> str:
    """A name as it stands inside quotes."""
    return name.replace('"', "").replace("'", "")
