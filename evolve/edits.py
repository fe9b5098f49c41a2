"""Turn a reply into a program: SEARCH/REPLACE blocks applied to the parent, or a full rewrite in a fenced block.

A reply is text that nobody checked. Whatever it holds, `apply` returns an `Edit` or raises `Unapplied`, whose message
is written for the model that gets one chance to mend its reply.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from vevolve.types import parse_program

MAX_REPLY = 1 << 20
"""Characters of a reply that is read at all."""
MAX_PROGRAM = 256 << 10
"""Bytes of a program in UTF-8."""

_OPEN = re.compile(r"[ \t]*(<{5,})[ \t]*SEARCH[ \t]*")
_DIVIDE = re.compile(r"[ \t]*(={5,})[ \t]*")
_CLOSE = re.compile(r"[ \t]*(>{5,})[ \t]*REPLACE[ \t]*")
_FENCE = re.compile(r"([ \t]*+)(`{3,}+|~{3,}+)([^`]*+)")
_IDEA = re.compile(r"[\s#>*_-]*idea[\s*_]*[:：](?:[*_]{1,2}(?=\s|$))?\s*(.*)", re.IGNORECASE)
_EMPHASISED = re.compile(r"([*_]{1,3})(?=[^*_])(.*[^*_])\1")
_PYTHON = ("python", "py", "python3")
_FENCES_READ = 1000
_PARSES_TRIED = 64


class Unapplied(Exception):
    """A reply holds no program that could be applied. The message says why, for a model to read."""


@dataclass(frozen=True)
class Edit:
    """A program read off a reply.

    Attributes:
        source: the whole program, newlines as LF.
        idea: one line on what changed; empty where the reply gives none.
    """

    source: str
    idea: str


def apply(text: str, parent_source: str) -> Edit:
    """The program that the reply `text` makes of its parent.

    SEARCH/REPLACE blocks are applied in order, each to the outcome of those before it. A SEARCH must match exactly one
    place: line for line, else but for trailing blanks, else but for one shift of the indentation. A reply of one block
    with an empty SEARCH, or of fenced Python without blocks, replaces the program; of several fenced programs the
    longest counts.

    Raises:
        Unapplied: no program, a block that matches nowhere or in several places, no change, or too large.
    """
    if len(text) > MAX_REPLY:
        raise Unapplied(f"The reply has {len(text):,} characters; at most {MAX_REPLY:,} are read.")
    lines = _without_thoughts(_lf(text)).split("\n")
    parent = _lf(parent_source)
    blocks = _blocks(lines)
    source = _patched(parent, blocks) if blocks else _rewritten(lines)
    if source == parent:
        raise Unapplied("Nothing changed: the reply gives back the program that it was given.")
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        raise Unapplied(f"The program holds half a surrogate pair, which is no text: {error.reason}.") from None
    if size > MAX_PROGRAM:
        raise Unapplied(f"The program has {size:,} bytes; at most {MAX_PROGRAM:,} are allowed.")
    if not source.strip():
        raise Unapplied("The reply leaves an empty program.")
    return Edit(source, _idea(lines))


def _lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_thoughts(text: str) -> str:
    """Some local models put their reasoning, drafts included, in front of the answer."""
    if text.lstrip().startswith("<think>") and "</think>" in text:
        return text.partition("</think>")[2]
    return text


def _idea(lines: list[str]) -> str:
    for line in lines:
        if _OPEN.fullmatch(line):
            break
        if found := _IDEA.match(line):
            plain = "".join(char for char in found[1] if char.isprintable()).strip()
            if emphasised := _EMPHASISED.fullmatch(plain):
                plain = emphasised[2].strip()
            if plain.count("**") == 1:  # what closes a mark that was opened before the label
                plain = plain.removesuffix("**").rstrip()
            return plain.encode("utf-8", "replace").decode()[:200]
    return ""


# --------------------------------------------------------------------------------------------- SEARCH/REPLACE blocks


@dataclass(frozen=True)
class _Block:
    """The lines between the opening and the closing marker, and where they may be divided."""

    number: int
    lines: list[str]
    dividers: list[int]


def _blocks(lines: list[str]) -> list[_Block]:
    blocks: list[_Block] = []
    start = 0
    while (opening := next((i for i in range(start, len(lines)) if _OPEN.fullmatch(lines[i])), None)) is not None:
        number, width = len(blocks) + 1, _width(_OPEN, lines[opening])
        following = (i for i in range(opening + 1, len(lines)) if _width(_OPEN, lines[i]) == width)
        end = next(following, len(lines))
        closing = _markers(_CLOSE, lines, opening + 1, end, width)
        if not closing:
            marker = ">" * width
            raise Unapplied(f"Block {number} has no line `{marker} REPLACE`; was the reply cut off?")
        body = lines[opening + 1 : closing[0]]
        dividers = _markers(_DIVIDE, body, 0, len(body), width)
        if not dividers:
            marker = "=" * width
            raise Unapplied(f"Block {number} has no line `{marker}` between its SEARCH and its REPLACE part.")
        blocks.append(_Block(number, body, dividers))
        start = closing[0] + 1
    return blocks


def _width(marker: re.Pattern[str], line: str) -> int:
    found = marker.fullmatch(line)
    return len(found[1]) if found else 0


def _markers(marker: re.Pattern[str], lines: list[str], start: int, end: int, width: int) -> list[int]:
    """Lines that are markers of this width; where there is none, of any."""
    widths = {i: found for i in range(start, end) if (found := _width(marker, lines[i]))}
    return [i for i, found in widths.items() if found == width] or list(widths)


def _patched(parent: str, blocks: list[_Block]) -> str:
    lines = parent.split("\n")
    for block in blocks:
        if not "".join(block.lines[: block.dividers[0]]).strip():
            if len(blocks) > 1:
                raise Unapplied(f"Block {block.number} has an empty SEARCH, which only the sole block of a reply may.")
            return "\n".join(block.lines[block.dividers[0] + 1 :]).strip("\n") + "\n"
        lines = _with_block(lines, block)
    return "\n".join(lines)


def _with_block(lines: list[str], block: _Block) -> list[str]:
    """A program may itself hold lines of equals signs: of the ways to divide a block, exactly one must be sound."""
    if len(block.dividers) == 1:
        divider = block.dividers[0]
        return _replaced(lines, block.lines[:divider], block.lines[divider + 1 :], block.number)
    outcomes: list[list[str]] = []
    refusals: list[Unapplied] = []
    for divider in block.dividers[:8]:
        try:
            outcomes.append(_replaced(lines, block.lines[:divider], block.lines[divider + 1 :], block.number))
        except Unapplied as error:
            refusals.append(error)
    if not outcomes:
        raise refusals[0]
    sound = outcomes if len(outcomes) == 1 else [found for found in outcomes if _is_python("\n".join(found))]
    if len(sound) != 1:
        raise Unapplied(
            f"Block {block.number} holds several lines of equals signs and can be read in several ways: use longer "
            "markers, each of the same length, such as `<<<<<<<<< SEARCH`, `=========`, `>>>>>>>>> REPLACE`."
        )
    return sound[0]


def _replaced(lines: list[str], search: list[str], replace: list[str], number: int) -> list[str]:
    places = _windows(lines, search)
    if not places:
        bare = [line.rstrip() for line in search]
        places = _windows([line.rstrip() for line in lines], bare)
    if not places:
        search, replace = _trimmed(search), _trimmed(replace)
        places = _shifted(lines, search)
        if len(places) == 1:
            window = lines[places[0] : places[0] + len(search)]
            replace = _reindented(replace, _margin(search), _margin(window), number)
    if not places:
        raise Unapplied(f"The SEARCH of block {number} is not in the program. {_nearest(lines, search)}")
    if len(places) > 1:
        shown = ", ".join(str(place + 1) for place in places[:5]) + (", ..." if len(places) > 5 else "")
        raise Unapplied(
            f"The SEARCH of block {number} matches {len(places)} places, at lines {shown}; "
            "it must match exactly one: add neighbouring lines to it."
        )
    return [*lines[: places[0]], *replace, *lines[places[0] + len(search) :]]


def _windows(lines: list[str], search: list[str]) -> list[int]:
    size = len(search)
    starts = range(len(lines) - size + 1)
    return [i for i in starts if lines[i] == search[0] and lines[i : i + size] == search]


def _trimmed(lines: list[str]) -> list[str]:
    filled = [i for i, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _shifted(lines: list[str], search: list[str]) -> list[int]:
    """Where `search` stands when the common indentation of both sides is left out."""
    bare, size = _dedented(search), len(search)
    starts = _windows([line.strip() for line in lines], [line.strip() for line in search])
    return [i for i in starts[:100] if _dedented(lines[i : i + size]) == bare]


def _margin(lines: list[str]) -> str:
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    low, high = (min(indents), max(indents)) if indents else ("", "")
    same = next((i for i, char in enumerate(low) if char != high[i]), len(low))
    return low[:same]


def _dedented(lines: list[str]) -> list[str]:
    margin = len(_margin(lines))
    return [line[margin:].rstrip() if line.strip() else "" for line in lines]


def _reindented(lines: list[str], old: str, new: str, number: int) -> list[str]:
    if old == new:
        return lines
    if any(line.strip() and not line.startswith(old) for line in lines):
        raise Unapplied(
            f"The SEARCH of block {number} is indented otherwise than the program, and its REPLACE goes further left "
            "than it: copy the program's own indentation."
        )
    return [new + line[len(old) :] if line.strip() else "" for line in lines]


def _nearest(lines: list[str], search: list[str]) -> str:
    """The stretch of the program that shares most lines with the start of `search`, else the line with its words."""
    wanted = [line.strip() for line in search[:40]]
    at = {line: j for j, line in reversed(list(enumerate(wanted))) if line}
    votes = Counter(i - at[line.strip()] for i, line in enumerate(lines) if line.strip() in at)
    if votes:
        start = max(0, votes.most_common(1)[0][0])
    else:
        words = set(re.findall(r"\w+", " ".join(wanted)))
        shared = [len(words & set(re.findall(r"\w+", line))) for line in lines]
        if not any(shared):
            return "No line of the program resembles it."
        start = shared.index(max(shared))
    stop = min(len(lines), start + min(max(len(wanted), 3), 12))
    shown = "\n".join(f"{i + 1:>5} | {lines[i][:160]}" for i in range(start, stop))
    return f"The nearest lines are:\n{shown}"


# ------------------------------------------------------------------------------------------------------ full rewrites


@dataclass(frozen=True)
class _Fenced:
    """A complete fenced block.

    Attributes:
        language: what the fence says that it holds.
        source: the text.
        parses: whether it is known to be a program; not tried for the only block of a reply.
    """

    language: str
    source: str
    parses: bool


def _rewritten(lines: list[str]) -> str:
    blocks, cut_off = _fenced(lines)
    tagged = [block for block in blocks if block.language in _PYTHON]
    programs = [block for block in tagged or blocks if tagged or (not block.language and block.parses)]
    if programs:
        rank = [(block.parses, len(block.source), i) for i, block in enumerate(programs)]
        return programs[max(rank)[2]].source
    if cut_off:
        raise Unapplied("The fenced program is never closed; was the reply cut off?")
    raise Unapplied(
        "The reply holds neither a SEARCH/REPLACE block nor a program in a ```python fence. "
        "Unified diffs and bare code are not read."
    )


def _fenced(lines: list[str]) -> tuple[list[_Fenced], bool]:
    """Every complete fenced block, and whether a last one is cut off."""
    blocks: list[_Fenced] = []
    tries = _PARSES_TRIED
    fences = [(i, found) for i, line in enumerate(lines) if (found := _FENCE.fullmatch(line))][:_FENCES_READ]
    while fences:
        (opening, marks), *fences = fences
        indent, fence, info = marks[1], marks[2], marks[3].split()
        closings = [k for k, (_, mark) in enumerate(fences) if mark[2].startswith(fence) and not mark[3].strip()]
        if not closings:
            return blocks, True
        last, parses, language = closings[0], False, info[0].lower() if info else ""
        alone = not blocks and len(fences) == 1 and language in _PYTHON  # nothing to tell it from
        if language in ("", *_PYTHON) and not alone:
            # A docstring may hold fences of its own: the block ends where the text before is a program.
            for k in closings[: min(16, tries)]:
                tries -= 1
                if _is_python(_body(lines[opening + 1 : fences[k][0]], indent)):
                    last, parses = k, True
                    break
        blocks.append(_Fenced(language, _body(lines[opening + 1 : fences[last][0]], indent), parses))
        fences = fences[last + 1 :]
    return blocks, False


def _body(lines: list[str], indent: str) -> str:
    return "\n".join(line.removeprefix(indent) for line in lines).strip("\n") + "\n"


def _is_python(text: str) -> bool:
    try:
        parse_program(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return bool(text.strip())
