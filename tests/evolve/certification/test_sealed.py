"""Sealed means sealed: nothing of `select` or of a certificate's documents reaches a prompt, also after resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from vevolve.archive import Archive
from vevolve.archive.events import Proposed, Selected
from vevolve.evolve.certification.attempt import attempt
from vevolve.evolve.certification.plan import Plan


def values(found: Any) -> Iterator[str]:
    """Every text of eight characters or more in a value, and every number that takes as many as JSON."""
    if isinstance(found, dict | list | tuple):
        for item in found.values() if isinstance(found, dict) else found:
            yield from values(item)
    elif isinstance(found, str | float) and len(shown := found if isinstance(found, str) else json.dumps(found)) >= 8:
        yield shown


def test_no_prompt_of_a_run_holds_anything_of_select_or_sealed_also_after_a_certificate(
    plane: ModuleType, lab: Any, tmp_path: Path
) -> None:
    archive, _ = plane.run(tmp_path, plane.settings(evaluations=30))
    best = archive.front("search")[0].candidate
    archive.close()
    with Archive.open(tmp_path, write=True) as log:
        setting = lab.setting().model_copy(update={"containment": plane.Bare.containment})
        found = attempt(log, best, setting, Plan(epsilon=0.0973, delta=0.1), lab.examine(lab.steady(0.01)))
        assert found.concluded.documents > 30
    archive, _ = plane.run(tmp_path, plane.settings(evaluations=60))

    prompts = [entry.event for entry in archive.events(kinds=("proposed",)) if isinstance(entry.event, Proposed)]
    later = [one for one in archive.events(after=found.seq) if isinstance(one.event, Proposed)]
    assert len(prompts) > 40 and len(later) > 10
    text = "\n".join(f"{one.system}\n{one.user}" for one in prompts)

    hidden: set[str] = set()
    for entry in archive.events(kinds=("registered", "unsealed", "examined", "concluded", "selected")):
        event = entry.event.model_dump()
        if isinstance(entry.event, Selected):
            # The rest of it is told of `search` too: the program's own two numbers, the problem's hash.
            points = event["verdict"]["points"]
            hidden |= {event["verdict"]["feedback"], *(str(one["hidden"]) for one in points if "hidden" in one)}
        else:
            hidden |= set(values(event)) - {best.id}
    # At the least a digest and an outcome for each of the documents, whose number varies with their fresh seeds.
    assert len(hidden) > 2 * found.concluded.documents and {"hidden 0.73519", "0.73519"} <= hidden
    assert [one for one in hidden if one in text] == []
    for word in ("sealed", "certificate", "select split", "0.0973", "registered", "unsealed"):
        assert word not in text


def test_the_search_would_find_a_leak(plane: ModuleType, tmp_path: Path) -> None:
    archive, _ = plane.run(tmp_path, plane.settings(evaluations=20))
    told = archive.records(valid=True)
    text = "\n".join(
        one.user for entry in archive.events(kinds=("proposed",)) if isinstance(one := entry.event, Proposed)
    )
    figures = [json.dumps(record.points_on("search")[0]["left"]) for record in told]
    assert any(figure in text for figure in figures)  # numbers of `search` do reach prompts, in this form
