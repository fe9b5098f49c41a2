"""The shipped attacks, each a small file whose docstring says what it wants and what verdict it must get.

General ones stand in `sandbox/attacks/` and work against any problem: such a file defines

    strike(target)          hostile code, run when the program is loaded and before every answer
    spoil(answer, target)   what is returned in place of the honest seed's answer
    write(seed)             the text of the whole candidate, for attacks on whoever parses or reads it

A problem's own stand in its `cheats/`, those that need a GPU in `sandbox/attacks/gpu/`. Both are whole candidates.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from vevolve import sandbox
from vevolve.errors import BadInput
from vevolve.evaluators.contract import Problem

FOLDER = Path(sandbox.__file__).parent / "attacks"
VERDICTS = frozenset({"fair", "syntax", "interface", "crash", "timeout", "resource", "protocol", "wrong", "unstable"})
"""What may be expected. "fair": valid, and worth no more than an honest program."""


@dataclass(frozen=True)
class Attack:
    """One hostile file.

    Attributes:
        name: the file's.
        goal: what it tries, in a line.
        group: the kind of attack.
        expected: the verdicts of which it must get one.
        text: the file.
        whole: it is a candidate by itself; others are spliced with the honest seed.
    """

    name: str
    goal: str
    group: str
    expected: tuple[str, ...]
    text: str
    whole: bool


def general(folder: Path = FOLDER) -> list[Attack]:
    """The attacks that work against any problem. Raises `BadInput` for a header that is incomplete."""
    return [_read(path, whole=False) for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


def with_gpu() -> list[Attack]:
    """Those that have a GPU in their hands. They are timed, and work against any problem."""
    return [_read(path, whole=True) for path in sorted((FOLDER / "gpu").glob("*.py"))]


def cheats(problem: Problem) -> list[Attack]:
    """A problem's own. Raises `BadInput` for a header that is incomplete."""
    return [_read(path, whole=True) for path in problem.cheats().values()]


def _read(path: Path, whole: bool) -> Attack:
    text = path.read_text(encoding="utf-8")
    header = ast.get_docstring(ast.parse(text)) or ""
    fields = dict(re.findall(r"^(Group|Expected): (.+)$", header, re.MULTILINE))
    if whole:
        # Whoever writes a problem need not fill in the header: then all that counts is that the cheat does not win.
        fields = {"Group": "cheat", "Expected": " or ".join(sorted(VERDICTS))} | fields
    expected = tuple(word.strip() for word in fields.get("Expected", "").split(" - ")[0].split(" or "))
    if not header or "Group" not in fields or not VERDICTS.issuperset(expected):
        known = ", ".join(sorted(VERDICTS))
        raise BadInput(
            f"{path} must open with a docstring that holds its goal, 'Group: word' and 'Expected: verdict or verdict' "
            f"of {known}; found group {fields.get('Group')!r}, expected {fields.get('Expected')!r}."
        )
    return Attack(path.stem, " ".join(header.split("\n\n")[0].split()), fields["Group"].strip(), expected, text, whole)
