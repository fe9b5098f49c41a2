"""Texts to record: prose, code, and needles in haystacks by RULER's rules (Hsieh et al., 2024, arXiv 2404.06654).

Every text ships with Python or with Debian's base system, so that traces can be made again without a network. The
splits share no source: `search` reads the language reference (pydoc_data.topics), `select` the licences in
/usr/share/common-licenses, and each module of the standard library belongs to one split by the hash of its name
(source as code, docstrings as prose for `select` and `sealed`). What is drawn depends on the versions of Python and
Debian, which a trace's metadata name.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import platform
import pydoc_data.topics
import re
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vevolve.errors import BadInput
from vevolve.types import Seed, Split

LICENCES = Path("/usr/share/common-licenses")
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
DEPTHS = tuple(float(depth) for depth in np.linspace(0.0, 1.0, 40))
"""Where needles stand, as shares of the haystack."""

_ADJECTIVES = (
    "able amber ancient brave brisk calm careful clever cosmic crisp curious dapper distant eager early electric "
    "fancy fierce fluffy gentle giant glossy golden grand happy hidden hollow humble icy jolly keen lively lucky "
    "mellow mighty misty noble odd patient plain proud quick quiet rapid royal rustic shiny silent silver sleepy "
    "smooth solid spicy steady stormy sturdy subtle sunny swift tame tidy velvet vivid warm wild wise witty young "
    "zesty"
)
_NOUNS = (
    "acorn anchor apple badger banjo barrel basket beacon bridge bucket cabin candle canyon carpet castle cello "
    "cloud comet copper cradle dolphin dragon engine falcon feather fiddle forest fossil garden glacier guitar "
    "hammer harbor helmet island jacket jungle kettle ladder lantern lemon magnet marble meadow mirror monkey needle "
    "otter paddle pebble pepper pigeon pocket pumpkin puzzle rabbit ribbon river rocket saddle scarf shadow spider "
    "spoon temple thunder ticket tunnel turtle violin walnut whistle window"
)
_EXCLUDED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "pydoc_data", "encodings"}
_LEAST = 8_000
"""Characters: shorter sources give no document of useful length."""


@dataclass(frozen=True)
class Passage:
    """A text and where it comes from."""

    source: str
    text: str


@dataclass(frozen=True)
class Needle:
    """A prompt whose answer stands once in its text.

    Attributes:
        task: RULER's name, such as "niah_multikey_1".
        user: the user's turn: instruction, haystack and question.
        answer_prefix: how the answer begins; it is given to the model.
        answer: what the model should write.
        statement: the sentence in `user` that states the answer.
        depth: where in the haystack it stands, from 0 to 1.
        source: where the haystack comes from.
    """

    task: str
    user: str
    answer_prefix: str
    answer: str
    statement: str
    depth: float
    source: str


TASKS = {
    "niah_single_1": ("noise", 1),
    "niah_single_2": ("essay", 1),
    "niah_multikey_1": ("essay", 4),
}
"""RULER's task -> (haystack, needles with different keys). One key is asked for; numbers have 7 digits."""


def draw(split: Split, kind: str, seed: Seed, characters: int = 0) -> Passage:
    """A passage of a split's "prose" or "code": a source at random, from a random line on.

    Args:
        split: whose sources are drawn from.
        kind: "prose" or "code".
        seed: the same seed gives the same passage under the same versions of Python and Debian.
        characters: how long it should be; where no source is that long, several are joined.

    Raises:
        BadInput: this machine holds no source of that kind.
    """
    rng = np.random.default_rng(seed.integer)
    names = sources(split, kind)
    if not names:
        raise BadInput(f"No {kind} for the {split} split on this machine: expected the standard library's sources.")
    order = [names[index] for index in rng.permutation(len(names))]
    first = read(order[0])
    lines = first.text.splitlines(keepends=True)
    room = max(0, len(first.text) - max(characters, _LEAST))
    starts = np.cumsum([0, *map(len, lines[:-1])])
    line = int(rng.integers(0, int(np.searchsorted(starts, room, side="right"))))
    text, named = "".join(lines[line:]), [f"{first.source}, line {line + 1}"]
    for name in order[1:]:
        if len(text) >= characters:
            break
        more = read(name)
        text, named = f"{text}\n\n{more.text}", [*named, more.source]
    return Passage("; ".join(named), text)


@functools.cache
def sources(split: Split, kind: str) -> tuple[str, ...]:
    """The names of a split's sources of "prose" or "code", sorted; `read` opens one."""
    modules = [name for name in _modules() if _split_of(name) == split]
    if kind == "code":
        return tuple(f"code:{name}" for name in modules)
    if kind != "prose":
        raise BadInput(f"Expected the kind 'prose' or 'code'; found '{kind}'.")
    if split == "search":
        topics = pydoc_data.topics.topics
        return tuple(f"topic:{name}" for name in sorted(topics) if len(topics[name]) >= _LEAST)
    docstrings = tuple(f"docstrings:{name}" for name in modules if len(_docstrings(name)) >= _LEAST)
    if split == "sealed":
        return docstrings
    licences = sorted(path.name for path in LICENCES.glob("*") if path.is_file() and not path.is_symlink())
    long = [name for name in licences if (LICENCES / name).stat().st_size >= _LEAST]
    return (*docstrings, *(f"licence:{name}" for name in long))


def read(name: str) -> Passage:
    """The whole text of one source, as `sources` names it."""
    what, _, which = name.partition(":")
    python = f"Python {platform.python_version()}"
    if what == "topic":
        return Passage(f"{python}, pydoc_data.topics['{which}']", pydoc_data.topics.topics[which])
    if what == "licence":
        return Passage(str(LICENCES / which), (LICENCES / which).read_text(encoding="utf-8", errors="replace"))
    if what == "docstrings":
        return Passage(f"{python}, docstrings of {which}", _docstrings(which))
    return Passage(f"{python}, source of {which}", _source(which))


def topics(characters: int | None = None) -> Passage:
    """Python's help topics in one text, of which the design's reference table uses the first 4,096 tokens."""
    text = "\n".join(pydoc_data.topics.topics.values())
    return Passage(f"Python {platform.python_version()}, pydoc_data.topics, all topics", text[:characters])


def needle(task: str, split: Split, seed: Seed, fits: Callable[[Needle], bool]) -> Needle:
    """A needle prompt with the longest haystack that fits.

    Args:
        task: one of `TASKS`.
        split: whose prose the haystack is made of.
        seed: of haystack, words, numbers and depths.
        fits: whether a prompt is short enough; the haystack's length is found by bisection.

    Raises:
        BadInput: no such task, or not even a haystack of a few sentences fits.
    """
    if task not in TASKS:
        raise BadInput(f"No needle task '{task}'. Known: {', '.join(TASKS)}.")
    haystack, keys = TASKS[task]
    essay = Passage("RULER's noise sentences", " ".join([NOISE] * 2_000))
    if haystack == "essay":
        essay = draw(split, "prose", seed.derive("haystack"), characters=60_000)
    sentences = [" ".join(sentence.split()) for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", essay.text)]
    few = 2 * keys
    if not fits(_assemble(task, sentences[:few], essay.source, keys, seed)):
        raise BadInput(f"{task}: not even {few} sentences of haystack fit. Allow more tokens.")
    low, high = few, 2 * few
    while high < len(sentences) and fits(_assemble(task, sentences[:high], essay.source, keys, seed)):
        low, high = high, 2 * high
    high = min(high, len(sentences))
    while low + 1 < high:
        middle = (low + high) // 2
        if fits(_assemble(task, sentences[:middle], essay.source, keys, seed)):
            low = middle
        else:
            high = middle
    return _assemble(task, sentences[:low], essay.source, keys, seed)


def names(rng: np.random.Generator, count: int) -> list[str]:
    """So many different names, adjective-noun, as RULER draws them."""
    adjectives, nouns = _ADJECTIVES.split(), _NOUNS.split()
    pairs = rng.choice(len(adjectives) * len(nouns), count, replace=False)
    return [f"{adjectives[pair // len(nouns)]}-{nouns[pair % len(nouns)]}" for pair in pairs]


def _assemble(task: str, sentences: list[str], source: str, keys: int, seed: Seed) -> Needle:
    """Put the needles between sentences. Words, numbers and depths depend on the seed alone."""
    rng = np.random.default_rng(seed.derive("needles").integer)
    named = names(rng, keys)
    numbers = [str(number) for number in rng.integers(1_000_000, 10_000_000, keys)]
    depths = [DEPTHS[index] for index in rng.choice(len(DEPTHS), keys, replace=False)]
    statements = [
        f"One of the special magic numbers for {name} is: {number}."
        for name, number in zip(named, numbers, strict=True)
    ]
    text = list(sentences)
    for depth, statement in sorted(zip(depths, statements, strict=True), reverse=True):
        text.insert(round(depth * len(sentences)), statement)
    many = keys > 1
    what = "Some special magic numbers are" if many else "A special magic number is"
    asked = "numbers" if many else "number"
    user = (
        f"{what} hidden within the following text. Make sure to memorize it. I will quiz you about the {asked} "
        f"afterwards.\n{' '.join(text)}\nWhat is the special magic number for {named[0]} mentioned in the "
        "provided text?"
    )
    prefix = f" The special magic number for {named[0]} mentioned in the provided text is"
    return Needle(task, user, prefix, numbers[0], statements[0], depths[0], source)


# --------------------------------------------------------------------------------------------- the standard library


@functools.cache
def _modules() -> dict[str, Path]:
    """The standard library's Python modules that are long enough, by dotted name."""
    library = Path(sysconfig.get_path("stdlib"))
    found: dict[str, Path] = {}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).with_suffix("").parts
        if not _EXCLUDED & set(parts) and not parts[-1].startswith("_") and path.stat().st_size >= _LEAST:
            found[".".join(parts)] = path
    return found


def _split_of(module: str) -> Split:
    splits: tuple[Split, ...] = ("search", "select", "sealed", "sealed")
    return splits[hashlib.sha256(module.encode()).digest()[0] % len(splits)]


def _source(module: str) -> str:
    return _modules()[module].read_text(encoding="utf-8", errors="replace")


@functools.cache
def _docstrings(module: str) -> str:
    """All docstrings of a module of two lines or more, in order; "" where they cannot be long enough."""
    quoted = re.findall(r"(\"{3}|'{3})(.*?)\1", _source(module), re.DOTALL)
    if sum(len(text) for _, text in quoted) < _LEAST:
        return ""
    nodes = ast.walk(ast.parse(_source(module)))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node, clean=False) for node in nodes if isinstance(node, kinds)]
    return "\n\n".join(inspect.cleandoc(text) for text in found if text and "\n" in text)
