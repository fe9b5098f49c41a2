"""What fresh documents said of promoted candidates: who met whom, and what came of it."""

from __future__ import annotations

from typing import Any

from vevolve.archive.elites import UNMET, Elite
from vevolve.archive.events import Compared
from vevolve.archive.web.sight import Sight
from vevolve.archive.web.views.brief import SHORT, brief

MOST = 50
"""Challengers of one incumbent that are listed."""


def counters(sight: Sight) -> dict[str, Any] | None:
    """How many comparisons there were and what they led to; None where nothing is compared."""
    found = sight.elites
    if not found.compares:
        return None
    counts = found.counts
    return {
        "elites": counts["elite"],
        "demoted": counts["demoted"],
        "unconfirmed": counts["unconfirmed"],
        "compared": counts.total(),
    }


def standing(sight: Sight) -> list[dict[str, Any]]:
    """The elites, ranked as `vevolve front` ranks them."""
    return [{"candidate": brief(sight, one.candidate), **_facts(sight, one)} for one in sight.elites.standing]


def comparison(sight: Sight, id: str) -> dict[str, Any] | None:
    """What fresh documents say of a candidate; None for one that was not promoted, or where nothing is compared.

    It has `place`; `unmet`, why it met no incumbent, or ""; `met`, those that were compared with it; and, where it met
    an incumbent itself, what `_facts` has, with `documents` in the order in which they were met: the gain as a share of
    the claim, whether it is cut there, and whether it came after the comparison had ended.
    """
    found, one = sight.elites, sight.all.get(id)
    place = found.place(one) if one is not None else None
    if place is None:
        return None
    known = found.compared.get(id)
    ranked = [other.candidate for other in found.standing]
    met = [other.candidate for other in found.compared.values() if other.incumbent == id]
    return {
        "place": place,
        "unmet": UNMET if place == "unconfirmed" and known is None else "",
        "facts": None if known is None else {**_facts(sight, known), "documents": _documents(known)},
        "rank": ranked.index(id) + 1 if id in ranked else None,
        "elites": len(ranked),
        "met": [brief(sight, other) for other in met[:MOST]],
    }


def told(event: Compared) -> tuple[str, str]:
    """The kind and the text of a comparison in the feed."""
    won = f"won {sum(gain > 0 for gain in event.gains)} of {len(event.gains)} fresh documents"
    against = f"against {event.incumbent[:SHORT]}"
    if not event.aged:
        return ("elite" if event.elite else "unconfirmed"), f"{won} {against}, e-value {event.evidence:.3g}"
    later = f"met its incumbent again after {event.aged} iterations: {won} {against}"
    return ("elite" if event.elite else "demoted"), f"{later}, e-value {event.evidence:.3g} over all so far"


def _facts(sight: Sight, one: Elite) -> dict[str, Any]:
    return {
        "text": str(one),
        "place": one.place,
        "incumbent": brief(sight, one.incumbent),
        "claims": list(one.claims),
        "claimed": one.claimed,
        "wins": one.wins,
        "count": len(one.gains) + len(one.later),
        "later": len(one.later),
        "aged": one.aged,
        "evidence": one.evidence,
        "needed": 1 / one.level,
        "level": one.level,
        "standing": one.standing,
        "gain_lower": one.lower,
    }


def _documents(one: Elite) -> list[dict[str, Any]]:
    decided = len(one.gains)
    return [
        {
            "document": number,
            "share": gain / one.claimed if one.claimed else None,
            "cut": abs(gain) > one.claimed,
            "won": gain > 0,
            "later": number > decided,
        }
        for number, gain in enumerate((*one.gains, *one.later), 1)
    ]
