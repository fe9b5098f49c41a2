"""A run as a table of pandas: one row an operating point, and one for each candidate that has none."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vevolve.archive.elites import elites
from vevolve.errors import MissingDependency

if TYPE_CHECKING:
    from vevolve.archive.store import Archive


def dataframe(archive: Archive) -> Any:
    """Columns: what is known of the candidate, `split`, `family`, `point`, and every figure of the point.

    Raises:
        MissingDependency: pandas is not installed.
    """
    try:
        pd = importlib.import_module("pandas")
    except ImportError as error:
        raise MissingDependency("A table needs pandas: pip install pandas") from error
    rows: list[dict[str, Any]] = []
    ranks = {split: archive.ranks(split) for split in ("search", "select")}
    compared = elites(archive)
    for one in archive.summaries():
        plain = {
            "candidate": one.id,
            "iteration": one.iteration,
            "told": one.time,
            "operation": one.operation,
            "proposer": one.proposer,
            "idea": one.idea,
            "status": one.status,
            "valid": one.valid,
            "promoted": one.promoted,
            "elite": compared.place(one),
            "reference": one.reference,
            "hypervolume_gain": one.hypervolume_gain,
            "first_error_line": one.first_error_line,
            "parent": one.parents[0] if one.parents else None,
        }
        for spot in one.spots:
            rank = ranks.get(spot.split, {}).get(one.id)
            rows.append(
                {**plain, "rank": rank, "split": spot.split, "family": spot.family, "point": spot.label, **spot.figures}
            )
        if not one.spots:
            rows.append(plain)
    found = pd.DataFrame(rows)
    if "told" in found:
        found["told"] = pd.to_datetime(found["told"], unit="s", utc=True)
    return found
