"""The leaderboard, where one was stored beside the runs."""

from __future__ import annotations

import json
from typing import Any

from vevolve.archive.web.library import Library
from vevolve.archive.web.views.breakdown import breakdown
from vevolve.errors import BadInput, UnknownName

FILE = "leaderboard.json"


def board(library: Library) -> dict[str, Any]:
    """What `leaderboard.json` holds, and the same as tables. Raises `UnknownName` where there is none."""
    path = library.root / FILE
    if not path.is_file():
        raise UnknownName("leaderboard", str(path), [])
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected JSON that holds a leaderboard; {error}.") from error
    data = found if isinstance(found, dict) else {"rows": found}
    return {"path": str(path), "data": data, "tables": breakdown(data)}
