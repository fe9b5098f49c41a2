"""Two programs beside each other on a terminal, what differs marked word by word."""

from __future__ import annotations

import shutil

from vevolve.archive.web.programs import Line, difference
from vevolve.evolve.cli import render

_COLOURS = {"k": "35", "s": "32", "n": "33", "c": "2", "f": "34", "b": "36"}
_SIGNS = {"same": " ", "change": "|", "add": ">", "remove": "<"}
LEAST = 24


def beside(old: str, new: str, left: str, right: str) -> None:
    """Print the changed parts, `old` on the left; on a terminal with colours, the words that differ underlined."""
    width = max(LEAST, (shutil.get_terminal_size((160, 24)).columns - 13) // 2)
    render.say(f"{'':5}{left:<{width}}   {'':5}{right}")
    for row in difference(render.clean(old), render.clean(new)):
        if row["kind"] == "skip":
            render.say(f"{'':5}... {row['count']} equal line{'' if row['count'] == 1 else 's'}")
            continue
        halves = [_half(row[side], width) for side in ("left", "right")]
        render.say(f"{halves[0]} {_SIGNS[row['kind']]} {halves[1]}".rstrip())


def _half(cell: dict[str, object] | None, width: int) -> str:
    if cell is None:
        return " " * (width + 5)
    pieces: Line = cell["pieces"]  # type: ignore[assignment]
    out, room = "", width
    for kinds, text in pieces:
        part = text.expandtabs(4)[:room]
        room -= len(part)
        codes = [_COLOURS[kind] for kind in kinds.split() if kind in _COLOURS] + (
            ["1;4"] if "w" in kinds.split() else []
        )
        out += f"\x1b[{';'.join(codes)}m{part}\x1b[0m" if codes and render.coloured() else part
    return f"{cell['number']:>4} {out}{' ' * room}"
