"""Tables on a terminal of any width: nothing leaves them on the right, and what is cut says so.

Where a row is too long, its last column, which holds prose, gives way first: cut with an ellipsis, and below LEAST
characters moved to a line of its own. Figures and names are never cut: columns that do not fit follow in a further
table, under the first column once more.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence

from vevolve.evolve.cli import render

LEAST = 24
"""Characters of prose that are worth a place in the row."""
GAP = 2
_INDENT = "    "
_UNBOUNDED = 100_000


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = (), whole: bool = False) -> None:
    """Print aligned columns; those named in `right` to the right. A last column that is not among them is prose.

    Args:
        header: the columns' names.
        rows: a cell for each column; untrusted text is cleaned here.
        right: the columns of figures.
        whole: whether the prose, such as a path, must not be cut.
    """
    cells = [list(header), *([render.line(cell, 200) for cell in row] for row in rows)]
    for number, block in enumerate(_blocks(cells, right, whole, _width())):
        if number:
            render.say()
        for place, text in enumerate(block):
            render.say(f"\x1b[1m{text}\x1b[0m" if place == 0 and render.coloured() else text)


def _width() -> int:
    """Of the terminal; without one, lines are as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNBOUNDED


def _blocks(cells: list[list[str]], right: Sequence[str], whole: bool, width: int) -> list[list[str]]:
    """The lines of one table, or of several where the columns do not fit beside each other."""
    from rich.cells import cell_len

    header = cells[0]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*cells, strict=True)]
    prose = len(header) - 1 if len(header) > 1 and header[-1] not in right else None
    blocks: list[list[int]] = [[0]]
    for place in range(1, len(header) if prose is None else prose):
        if sum(widths[one] + GAP for one in blocks[-1]) + widths[place] > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(place)
    if prose is None:
        return [_lines(cells, block, right, width) for block in blocks]
    room = width - sum(widths[one] + GAP for one in blocks[-1])
    if room >= (widths[prose] if whole else min(widths[prose], LEAST)):
        blocks[-1].append(prose)
        return [_lines(cells, block, right, width) for block in blocks]
    found = [_lines(cells, block, right, width) for block in blocks]
    below = _lines(cells, [prose], right, _UNBOUNDED if whole else width - len(_INDENT))
    found[-1] = [
        text
        for row, own, under in zip(cells, found[-1], below, strict=True)
        for text in (own, *([_INDENT + under] if row[prose] not in ("", "-") else []))
    ]
    return found


def _lines(cells: list[list[str]], chosen: Sequence[int], right: Sequence[str], width: int) -> list[str]:
    """A line for each row. Of several columns only prose is made to fit, of a single one whatever it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, show_header=False)
    for place in chosen:
        name = cells[0][place]
        prose = place == len(cells[0]) - 1 and name not in right
        grid.add_column(justify="right" if name in right else "left", no_wrap=not prose, overflow="ellipsis")
    for row in cells:
        grid.add_row(*(Text(row[place], no_wrap=True, overflow="ellipsis") for place in chosen))
    page = io.StringIO()
    Console(file=page, width=width, color_system=None, markup=False, highlight=False, emoji=False).print(grid)
    return [line.rstrip() for line in page.getvalue().split("\n")[: len(cells)]]
