"""A run as one document: question, method, front, the story of the winning lineage, certificates, how to reproduce.

The HTML holds its styles and its figure and asks for nothing else; the Markdown says the same. Both quote what models
and candidates wrote: in HTML every value is escaped, in Markdown it stands in code spans that nothing inside can leave.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from vevolve.archive import certificates, figure, notes
from vevolve.archive.elites import Elites, elites
from vevolve.archive.export import literal, one_line
from vevolve.archive.improvements import NOTHING, NOTICEABLE, improvements
from vevolve.archive.store import Archive
from vevolve.errors import BadInput, MissingDependency

SHORT = 10
ELITES = (
    "An elite beat its incumbent by more than luck on fresh documents, drawn after its claim was logged; gains are cut "
    "at the claim. That is no certificate, and the incumbent may not be the best of the front."
)
"""What a reader has to know of them."""


def facts(archive: Archive, name: str) -> dict[str, Any]:
    """What a report says, as plain data."""
    from vevolve.archive import idea

    split = "select" if archive.ranks("select") else "search"
    started, totals = archive.started, archive.totals()
    first, last = _times(archive)
    best = [record for record in archive.front(split) if record.operation != "seed"]
    line = [*reversed(archive.ancestors(best[0].id)), archive.record(best[0].id)] if best else []
    story: list[dict[str, Any]] = []
    for before, record in zip([None, *line], line, strict=False):
        told = record.idea or ("the seed" if before is None else idea.difference(before.source, record.source))
        gain = record.hypervolume_gain if record.operation != "seed" else 0.0
        story.append({"id": record.id[:SHORT], "iteration": record.iteration, "idea": told, "gain": gain})
    try:
        drawn = figure.svg(figure.figure(archive, split))
    except BadInput:
        drawn = ""
    wins = improvements(archive, split, NOTICEABLE)
    issued, failed = certificates.issued(archive), certificates.refuted(archive)
    standing = certificates.standing(archive)
    said, compared = notes.read(archive.path), elites(archive)
    return {
        "name": name,
        "problem": started.problem,
        "problem_hash": started.problem_hash,
        "seed": started.seed,
        "version": started.version,
        "level": started.containment.level,
        "models": [str(model) for model in started.config.get("models") or []],
        "objectives": [axis.model_dump() for axis in archive.objectives],
        "split": split,
        "began": first,
        "last": last,
        "totals": totals.model_dump(),
        "seconds": archive.seconds(),
        "hypervolume": archive.hypervolume(split),
        "wins": [str(win) for win in wins],
        "gains": [
            {
                "over": win.over.label,
                "objective": win.objective,
                "before": f"{win.over[win.objective]:.4g}",
                "after": f"{win.point[win.objective]:.4g}",
                "share": f"{100 * win.share:.3g} %",
                "id": win.candidate.id[:SHORT],
                "label": win.point.label,
            }
            for win in wins
        ],
        "points": [
            {
                "label": point.label,
                "figures": [f"{point[axis.name]:.4g}" for axis in archive.objectives],
                "id": record.id[:SHORT],
                "idea": record.idea or ("the seed" if record.operation == "seed" else ""),
                "certified": point.label in standing.get(record.id, ()),
                "elite": compared.place(record),
            }
            for record, point in archive.front_points(split)
        ],
        "timed": _timed(archive),
        "story": story,
        "winner": best[0].id if best else None,
        "source": line[-1].source if line else "",
        "certificates": [
            _certificate(archive, id, seq, refuted=seq in failed) for id, found in issued.items() for seq, _ in found
        ],
        "elites": _elites(compared) if compared.compares else None,
        "notes": [
            {"id": id[:SHORT], "pinned": one.pinned, "texts": [text for _, text in one.texts]}
            for id, one in said.items()
        ],
        "commands": commands(archive, best[0].id if best else None),
        "figure": drawn,
        "head": next(iter(archive.events(after=archive.head - 1))).hash,
    }


def html(found: dict[str, Any]) -> str:
    """The report as one HTML file. Raises `MissingDependency` where Jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependency("A report in HTML needs Jinja2: pip install 'vevolve[web]'") from error
    from markupsafe import Markup

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "web" / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = Markup(found["figure"])  # made by `figure.svg`, which escapes the only texts in it
    return templates.get_template("report.html").render(
        **{**found, "figure": drawn, "noticeable": NOTICEABLE, "nothing": NOTHING, "elites_are": ELITES}
    )


def markdown(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    totals, axes = found["totals"], found["objectives"]
    out = [f"# {literal(one_line(found['name']))}", "", "## Question", "", _question(found), "", "## Method", ""]
    out += [method(found), "", "## What was found", ""]
    out += [f"- {literal(one_line(win, 400))}" for win in found["wins"]] or [NOTHING]
    out += ["", f"## Front on {found['split']}", ""]
    out += ["| point | " + " | ".join(axis["name"] for axis in axes) + " | candidate | what changed |"]
    out += ["|---|" + "---:|" * len(axes) + "---|---|"]
    for point in found["points"]:
        told = one_line(point["idea"], 200).replace("|", "\\|")
        marks = "".join(f", {mark}" for mark in (point["elite"], "certified" if point["certified"] else "") if mark)
        cells = [literal(one_line(point["label"]).replace("|", "\\|") or "-"), *point["figures"]]
        cells += [literal(point["id"]) + marks, literal(told) if told else ""]
        out.append("| " + " | ".join(cells) + " |")
    if timed := found["timed"]:
        out += ["", f"## Front on {literal(one_line(timed['gpu']))}", "", timed["said"], ""]
        out += [
            "| point | " + " | ".join(timed["axes"]) + " | candidate |",
            "|---|" + "---:|" * len(timed["axes"]) + "---|",
        ]
        for point in timed["points"]:
            cells = [
                literal(one_line(point["label"]).replace("|", "\\|") or "-"),
                *point["figures"],
                literal(point["id"]),
            ]
            out.append("| " + " | ".join(cells) + " |")
    out += ["", "## Story of the winning lineage", ""]
    for step in found["story"]:
        gain = f" (+{step['gain']:.4g})" if step["gain"] > 0 else ""
        out.append(f"1. iteration {step['iteration']}, {literal(step['id'])}: {literal(one_line(step['idea']))}{gain}")
    if not found["story"]:
        out.append("No evolved program is on the front.")
    if found["elites"]:
        out += ["", "## Elites", "", f"{found['elites']['count']} {ELITES}", ""]
        out += [f"- {literal(one['id'])}: {literal(one_line(one['text'], 1000))}" for one in found["elites"]["told"]]
    out += ["", "## Certificates", ""]
    out += [
        f"- {literal(one['id'])}: {literal(one_line(one['claim'], 1000))} {one['evidence']}"
        for one in found["certificates"]
    ] or ["None."]
    if found["notes"]:
        out += ["", "## Notes", ""]
        for one in found["notes"]:
            said = "; ".join(one_line(text, 2000) for text in one["texts"])
            out.append(
                f"- {literal(one['id'])}{' (pinned)' if one['pinned'] else ''}{': ' + literal(said) if said else ''}"
            )
    out += ["", "## How to reproduce", "", "```console"]
    out += [f"$ {one_line(command, 1000)}" for command in found["commands"]]
    out += ["```", "", f"Problem hash `{found['problem_hash']}`, head of the log `{found['head']}`,"]
    out += [f"{totals['evaluations']} evaluations, {totals['valid']} valid, ${totals['usd']:.4f}.", ""]
    return "\n".join(out)


def _question(found: dict[str, Any]) -> str:
    goals = " and ".join(
        f"{'less' if axis['direction'] == 'min' else 'more'} {axis['name']}"
        + (f" ({axis['unit']})" if axis["unit"] else "")
        for axis in found["objectives"]
    )
    problem, seed = literal(found["problem"]), literal(found["seed"])
    return f"On the problem {problem}: can a program be found that has {goals} than {seed}?"


def method(found: dict[str, Any]) -> str:
    """How the search went, in a few sentences."""
    totals = found["totals"]
    models = ", ".join(map(literal, found["models"]))
    return (
        f"From {found['began']} to {found['last']} UTC, {models or 'a proposer'} wrote programs from parents on the "
        f"front; {totals['evaluations']} were examined in a sandbox (level {found['level']}) and {totals['valid']} "
        f"were valid. What is reported was measured by the verifier on the `{found['split']}` split, never by the "
        f"programs themselves. Hypervolume of the front: {found['hypervolume']:.4f}. Cost: ${totals['usd']:.4f}, "
        f"vEvolve {found['version']}."
    )


def commands(archive: Archive, winner: str | None) -> list[str]:
    """What to type to have the search, and its winner, again."""
    import shlex

    config, run = archive.started.config, str(archive.path.parent)
    words = ["vevolve", "run", archive.started.seed]
    for model in config.get("models") or []:
        words += ["--model", str(model)]
    for name in ("evaluations", "usd", "seconds"):
        if config.get(name) is not None:
            words += [f"--{name}", str(config[name])]
    found = [shlex.join(words)]
    if winner:
        found.append(shlex.join(["vevolve", "export", winner[:SHORT], "--run", run, "--out", f"{winner[:SHORT]}.py"]))
        found.append(shlex.join(["vevolve", "eval", f"{winner[:SHORT]}.py", "--problem", archive.started.problem]))
    return found


def _timed(archive: Archive) -> dict[str, Any] | None:
    """The front of what was timed on a GPU; None where this run times nothing."""
    latency = archive.started.latency
    if latency is None:
        return None
    measured = archive.measured().values()
    failed = sum(not event.points for event in measured)
    axes = archive.objectives_on(latency.family)
    return {
        "gpu": latency.gpu,
        "said": (
            f"Timed beside the seed, on a workload of its own (protocol {latency.version}, {latency.protocol[:12]}): "
            f"{len(measured)} programs, of which the time of {failed} does not count."
        ),
        "axes": [axis.name for axis in axes],
        "points": [
            {"label": point.label, "figures": [f"{point[axis.name]:.4g}" for axis in axes], "id": record.id[:SHORT]}
            for record, point in archive.front_points("select", latency.family)
        ],
    }


def _elites(compared: Elites) -> dict[str, Any]:
    """The elites, ranked, and those that are demoted, each in a sentence; the unconfirmed are counted."""
    demoted = [one for one in compared.compared.values() if one.place == "demoted"]
    counts = compared.counts
    best, lost, rest = counts["elite"], counts["demoted"], counts["unconfirmed"]
    elite = f"{best} {'elite' if best == 1 else 'elites'}"
    return {
        "elite": best,
        "demoted": lost,
        "unconfirmed": rest,
        "count": f"Compared: {counts.total()}, of which {elite}, {lost} demoted, {rest} unconfirmed.",
        "told": [{"id": one.candidate[:SHORT], "text": f"{one}."} for one in [*compared.standing, *demoted]],
    }


def _certificate(archive: Archive, id: str, seq: int, refuted: bool) -> dict[str, Any]:
    """The claim of a certificate and what it rests on."""
    made = certificates.assemble(archive, seq, archive.record(id).candidate, archive.started.version)
    one, rows = made["figures"], made["log"]["rows"]
    evidence = (
        f"{one['heads_passed']} of {one['heads']} KV heads passed after {len(rows) - 3} documents, rows {seq} to "
        f"{rows[-1]['seq']} of the log; the worst, {one['worst_head']}, is over epsilon in "
        f"{one['worst_head_rate']:.2%} of its units; tokens differ at {one['token_rate']:.2%} of steps."
    )
    if refuted:
        evidence += " A later attempt did not support it."
    return {"id": id[:SHORT], "claim": str(made["claim"]), "evidence": evidence, "refuted": refuted}


def _times(archive: Archive) -> tuple[str, str]:
    first = next(iter(archive.events())).time
    last = next(iter(archive.events(after=archive.head - 1))).time
    one, two = (
        datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M") for time in (first, last)
    )
    return one, two
