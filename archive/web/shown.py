"""Data as HTML. Every value is escaped by the template engine; nothing of a model is ever taken for markup."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from vevolve.archive.improvements import NOTHING

if TYPE_CHECKING:
    from jinja2 import Environment

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class State(dict[str, str]):
    """The query of an address; what it does not say is empty."""

    def __missing__(self, name: str) -> str:
        return ""


def environment() -> Environment:
    """The templates, with what they call."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    found.filters.update(figure=figure, percent=percent, usd=usd, clock=clock, ago=moment, count=count, path=quote_all)
    found.globals.update(with_query=with_query, nothing=NOTHING)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return found


def render(templates: Environment, name: str, path: str, query: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """One page."""
    twin = "/index.json" if path == "/" else f"{path}.json"
    if query:
        twin += "?" + urlencode(dict(query))
    return templates.get_template(name).render(**{**data, "query": State(query), "address": path, "twin": twin})


def _visible(value: Any) -> Any:
    """Characters that cannot be seen, or that turn the direction of the text, are spelled out."""
    if type(value) is not str or (value.isascii() and value.isprintable()):
        return value
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in _HIDDEN else f"\\u{ord(char):04x}" for char in value
    )


def figure(value: Any) -> str:
    """A number with four significant digits; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        text = f"{abs(value):.4g}".replace("e-0", "e-")
        return f"−{text}" if value < 0 else text
    return count(value) if isinstance(value, int) else str(value)


def count(value: Any) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else figure(value)


def percent(value: float | None) -> str:
    """A change, with its sign."""
    if value is None:
        return ""
    return f"{value:+.1%}".replace("-", "−") if abs(value) < 10 else f"×{value + 1:.1f}"


def usd(value: float | None) -> str:
    """Dollars."""
    if value is None:
        return "–"
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}"


def clock(seconds: float | None) -> str:
    """Seconds as 1 h 02 min, 2 min 03 s or 4 s."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def moment(time: float) -> str:
    """A time as UTC says it."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def quote_all(text: str) -> str:
    """Text as one segment of a path."""
    return quote(text, safe="")


def with_query(path: str, query: Mapping[str, str], **changed: Any) -> str:
    """The same place with some of its state changed; None takes a part away, and so does a change any page number."""
    kept = {key: value for key, value in query.items() if key not in ("page", "id")}
    kept.update({key: str(value) for key, value in changed.items() if value is not None})
    for key, value in changed.items():
        if value is None:
            kept.pop(key, None)
    return path + ("?" + urlencode(kept) if kept else "")
