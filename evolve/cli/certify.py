"""Commands about certificates: certify (issue one), audit (test it on new documents), verify (check its evidence)."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vevolve.evolve.cli.options import AllowDegraded, AsJson, RunOption

if TYPE_CHECKING:
    from vevolve.archive import Archive
    from vevolve.archive.events import Examined
    from vevolve.evaluators.contract import Problem, Sealing
    from vevolve.evolve.certification.attempt import Outcome
    from vevolve.evolve.certification.bench import Benches
    from vevolve.evolve.certification.plan import Plan
    from vevolve.types import Candidate

Workers = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes that examine documents, each with a model; default 2.")
]


def certify(
    target: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="A candidate of a run, a program's file, or a shipped seed.")
    ],
    epsilon: Annotated[
        float, typer.Option(metavar="SHARE", help="An attention output is off where its error exceeds this.")
    ],
    delta: Annotated[float, typer.Option(metavar="SHARE", help="How often that may be, in every KV head.")],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="The certificate, a new file.")],
    delta_token: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="How often the greedy token may not be the dense model's; default: delta."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(metavar="SHARE", help="The chance of a false certificate, over all attempts.")
    ] = 0.05,
    method: Annotated[
        str, typer.Option(metavar="betting|clopper-pearson", help="Betting may stop early, the other never.")
    ] = "betting",
    documents: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Fresh documents; default 60, or as many as delta needs.")
    ] = None,
    at: Annotated[
        str,
        typer.Option(metavar="POINT", help="The operating point, such as '128 tokens'; default: epsilon and delta."),
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="NAME|DIR", help="The model that reads the documents; the default needs no network.")
    ] = "",
    tokens: Annotated[int, typer.Option(min=2, metavar="N", help="Tokens of a document.")] = 2_048,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Decode steps: the last tokens of a document.")] = 8,
    layers: Annotated[
        str | None, typer.Option(metavar="0,2,4", help="Layers that the claim is about; default: all.")
    ] = None,
    problem: Annotated[
        str | None, typer.Option("--problem", "-p", metavar="NAME|DIR", help="Of a FILE; default: sparse_decode.")
    ] = None,
    run: RunOption = None,
    workers: Workers = None,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Test a candidate on fresh sealed documents, and issue a certificate or say how it failed.

    The attempt is logged before its documents are drawn: in the run, or for a FILE below runs/certificates. Each
    further attempt at the same candidate has to meet a stricter test. Exits with 1 where no certificate is issued.
    """
    from vevolve.evaluators.contract import Sealing, load
    from vevolve.evolve.certification.plan import Plan
    from vevolve.evolve.cli import render

    plan = Plan(epsilon=epsilon, delta=delta, delta_token=delta_token, alpha=alpha, method=method, documents=documents)
    plan.statement(1)
    _check_out(out)
    candidate, name, archive = _target(target, problem, run)
    loaded = load(name)
    sealing = Sealing(
        epsilon=epsilon, delta=delta, at=at, model=model, tokens=tokens, steps=steps, layers=_layers(layers)
    )
    loaded.sealing_point(candidate, sealing)
    with _benches(name, workers, allow_degraded) as benches:
        found = _attempt(benches, loaded, name, candidate, plan, sealing, archive, out)
    if as_json:
        render.print_json(_as_json(found, candidate, out))
    else:
        _report(found, out)
    if not found.concluded.issued:
        raise typer.Exit(1)


def audit(
    certificates: Annotated[list[Path], typer.Argument(metavar="CERTIFICATE...", help="What certify wrote.")],
    documents: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Fresh documents for each; default: as many as it had planned, or needs."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="RUN", help="Log it in this run, a name or directory; default: runs/certificates."
        ),
    ] = None,
    workers: Workers = None,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Test certificates again on new documents.

    Each is a further attempt at the same claim, logged in the run that is named, or below runs/certificates. Exits
    with 1 where one does not pass again; what is printed says whether its claim was refuted or only not shown.
    """
    from vevolve.archive import certificates as files
    from vevolve.errors import CertificateRejected
    from vevolve.evaluators.contract import load
    from vevolve.evolve.certification.again import same_setting, sealing_of
    from vevolve.evolve.certification.plan import Plan
    from vevolve.evolve.cli import render

    results: list[tuple[Outcome, Candidate]] = []
    for path in certificates:
        certificate = files.read(path)
        _accepted(certificate, path)
        registered = certificate["log"]["rows"][0]["event"]
        one, candidate, sealing = registered["statement"], files.candidate_of(certificate), sealing_of(registered)
        plan = Plan(
            **{name: one[name] for name in ("epsilon", "delta", "delta_token", "alpha", "method")},
            documents=documents,
            usual=one["documents"],
        )
        problem = load(registered["problem"])
        archive = None if run is None else _run_archive(run)
        with _benches(registered["problem"], workers, allow_degraded) as benches:
            if why := same_setting(registered, benches.setting(candidate, sealing)):
                raise CertificateRejected(f"{path}: its claim cannot be tested again here: {why}.")
            found = _attempt(
                benches, problem, registered["problem"], candidate, plan, sealing, archive, None, earlier=one["attempt"]
            )
        results.append((found, candidate))
        if not as_json:
            _report(found, None)
    if as_json:
        render.print_json([_as_json(found, candidate, None) for found, candidate in results])
    if not all(found.concluded.issued for found, _ in results):
        raise typer.Exit(1)


def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="What certify wrote.")],
    rerun: Annotated[int, typer.Option(min=0, metavar="K", help="Also draw and examine K of its documents again.")] = 0,
    log: Annotated[
        str | None, typer.Option(metavar="RUN|DIR", help="Also look its rows up in the log of this run or ledger.")
    ] = None,
    workers: Workers = None,
    allow_degraded: AllowDegraded = False,
    as_json: AsJson = False,
) -> None:
    """Derive the verdict of a certificate anew from its evidence.

    The checker is one file, archive/checker.py, that imports nothing of vEvolve. It proves the arithmetic; --rerun
    shows that documents and outcomes follow from the logged keys. Exits with 1 where the certificate is rejected.
    """
    from vevolve.archive import certificates as files
    from vevolve.evolve.cli import render

    read = files.read(certificate)
    figures = _accepted(read, certificate)
    notes = [f"accepted: {read['claim']}", _figures(figures)]
    if log is not None:
        notes.append(_look_up(read, certificate, log))
    if rerun:
        notes.append(_rerun(read, certificate, rerun, workers, allow_degraded))
    if as_json:
        render.print_json({"accepted": True, "figures": figures, "notes": notes})
        return
    for note in notes:
        render.say(render.clean(note))


# ----------------------------------------------------------------------------------------------------- the attempt


def _target(target: str, problem: str | None, run: str | None) -> tuple[Candidate, str, Archive | None]:
    """The program, its problem, and the run that it belongs to, open for writing; None for a file."""
    from vevolve.errors import BadInput
    from vevolve.evaluators.programs import read_program
    from vevolve.evolve.cli.read import candidate as found
    from vevolve.evolve.setup import locate

    if run is None and (Path(target).is_file() or "/" in target or target.endswith(".py")):
        named = problem or ("sparse_decode" if Path(target).is_file() else None)
        place = locate(target, named)
        return read_program(place.program), place.problem, None
    if problem is not None:
        raise BadInput(f"--problem belongs to a FILE; the candidate '{target}' of a run has the run's problem.")
    archive = _run_archive(run)
    try:
        return found(archive, target).candidate, archive.started.problem, archive
    except BaseException:
        archive.close()
        raise


def _run_archive(run: str | None) -> Archive:
    from vevolve.archive import Archive
    from vevolve.evolve.run import find_run

    return Archive.open(find_run(run).archive, write=True)


def _check_out(out: Path) -> None:
    from vevolve.errors import BadInput

    if out.exists():
        raise BadInput(
            f"{out}: expected no file there yet; found one. Name another, a certificate is never overwritten."
        )
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise BadInput(f"{out}: the folder {out.parent} is not there or cannot be written; make it first.")


def _layers(text: str | None) -> tuple[int, ...] | None:
    from vevolve.errors import BadInput

    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"--layers takes numbers and commas, such as 0,8,16; found '{text}'.") from error


@contextmanager
def _benches(problem_name: str, workers: int | None, allow_degraded: bool) -> Generator[Benches]:
    from vevolve.evolve.certification.bench import Benches

    with Benches(problem_name, workers or min(2, os.cpu_count() or 1), allow_degraded=allow_degraded) as benches:
        yield benches


def _attempt(
    benches: Benches,
    problem: Problem,
    problem_name: str,
    candidate: Candidate,
    plan: Plan,
    sealing: Sealing,
    archive: Archive | None,
    out: Path | None,
    earlier: int = 0,
) -> Outcome:
    from vevolve import __version__
    from vevolve.archive import certificates as files
    from vevolve.evolve.certification.attempt import attempt
    from vevolve.evolve.certification.ledger import check_level, open_ledger
    from vevolve.evolve.cli import render

    purpose: Any = "audit" if out is None else "certify"
    setting = benches.setting(candidate, sealing)
    render.warn_of_level(setting.containment)
    if archive is not None:
        check_level(archive, setting.containment)
    with archive or open_ledger(problem, problem_name, setting.containment) as log:
        found = attempt(
            log,
            candidate,
            setting,
            plan,
            lambda keys: benches.examine(candidate, sealing, keys),
            purpose=purpose,
            reason=f"vevolve {purpose}",
            earlier=earlier,
            tell=_progress(),
        )
        if found.concluded.issued and out is not None:
            files.write(files.assemble(log, found.seq, candidate, __version__), out)
    return found


def _progress() -> Callable[[int, int, Sequence[Examined]], None]:
    """One line on stderr a document; on a terminal each in place of the last."""
    began, end = time.monotonic(), "\r" if sys.stderr.isatty() else "\n"

    def tell(done: int, planned: int, found: Sequence[Examined]) -> None:
        shares = [text.count("1") / len(text) for heads in found[-1].over.values() for text in heads]
        left = (time.monotonic() - began) / done * (planned - done) / 60
        sys.stderr.write(
            f"document {done} of at most {planned}: {found[-1].stratum}, {max(shares):.1%} of units over epsilon in "
            f"the worst head, {sum(shares) / len(shares):.1%} in all, {found[-1].differs.count('1')} of "
            f"{len(found[-1].differs)} tokens differ; at most {left:.0f} min left   {end}"
        )
        sys.stderr.flush()

    return tell


def _as_json(found: Outcome, candidate: Candidate, out: Path | None) -> dict[str, Any]:
    return {
        "candidate": candidate.id,
        "issued": found.concluded.issued,
        "reason": found.concluded.reason,
        "documents": found.concluded.documents,
        "statement": found.registered.statement.model_dump(),
        "figures": found.concluded.figures,
        "out": str(out) if out is not None and found.concluded.issued else None,
    }


def _report(found: Outcome, out: Path | None) -> None:
    from vevolve.archive.checker import claim
    from vevolve.evolve.cli import render
    from vevolve.evolve.cli.typed import typed

    done = found.concluded
    what = ("certified" if out is not None else "certified again") if done.issued else "not certified"
    render.say(f"{what}: {render.clean(done.reason)}")
    if done.issued:
        render.say(claim(found.registered.model_dump(mode="json")))
    if done.figures:
        render.say(_figures(done.figures))
    if out is not None and done.issued:
        render.say(f"Wrote {out}; `{typed(f'vevolve verify {shlex.quote(str(out))}')}` derives the verdict anew.")


def _figures(found: dict[str, Any]) -> str:
    """What was found, in words.

    The pooled rate never stands alone: it hides heads that fail half of the time. The upper limits are corrected by
    their number and the tests need not be, so that a limit above delta is no contradiction: it is said which is which.
    """
    return (
        f"{found['heads_passed']} of {found['heads']} heads passed, each tested by itself against delta. Worst: "
        f"{found['worst_head']}, over epsilon in {found['worst_head_rate']:.2%} of its units. All heads pooled "
        f"{found['pooled_rate']:.2%}. Tokens differ at {found['token_rate']:.2%} of steps. Upper limits that hold for "
        f"all heads and the tokens at once, so looser than those tests and not what is certified: "
        f"{found['worst_head_upper']:.2%} for the worst head, {found['token_upper']:.2%} for the tokens."
    )


# ---------------------------------------------------------------------------------------------------------- checking


def _accepted(certificate: dict[str, Any], path: Path) -> dict[str, Any]:
    """The figures of an accepted certificate. Raises `CertificateRejected`."""
    from vevolve.archive.checker import Rejected, check
    from vevolve.errors import CertificateRejected

    try:
        return check(certificate)
    except Rejected as error:
        raise CertificateRejected(f"{path} is rejected: {error}.") from error


def _look_up(certificate: dict[str, Any], path: Path, log: str) -> str:
    from vevolve.archive import Archive
    from vevolve.archive.certificates import attempts, attempts_before
    from vevolve.errors import CertificateRejected
    from vevolve.evolve.run import RunDirectory, find_run

    rows = certificate["log"]["rows"]
    folder = RunDirectory(Path(log)) if RunDirectory(Path(log)).is_run else find_run(log)
    with Archive.open(folder.archive) as archive:
        archive.verify()
        standing = {entry.seq: entry.hash for entry in archive.events(after=rows[0]["seq"] - 1)}
        for row in rows:
            if (hash := standing.get(row["seq"])) != row["hash"]:
                what = "is another one" if hash else f"is not there; the log ends at row {archive.head}: cut short"
                raise CertificateRejected(f"{path} is rejected: row {row['seq']} of {folder.archive} {what}.")
        earlier = attempts_before(archive, certificate["candidate"]["id"], rows[0]["seq"])
        tried = attempts(archive)
    attempt = certificate["statement"]["attempt"]
    if earlier >= attempt:
        raise CertificateRejected(
            f"{path} is rejected: it calls itself attempt {attempt}, and the log holds {earlier} before it."
        )
    others = [count for id, count in tried.items() if id != certificate["candidate"]["id"]]
    return (
        f"its rows stand in {folder.archive}, whose whole chain holds; {earlier} earlier attempts at this program, and "
        f"{sum(others)} at {len(others)} others"
    )


def _rerun(certificate: dict[str, Any], path: Path, count: int, workers: int | None, allow_degraded: bool) -> str:
    from vevolve.archive.certificates import candidate_of
    from vevolve.errors import CertificateRejected
    from vevolve.evolve.certification.again import chosen, compare, same_setting, sealing_of

    rows = certificate["log"]["rows"]
    registered, candidate = rows[0]["event"], candidate_of(certificate)
    sealing, documents = sealing_of(registered), chosen([row["event"] for row in rows[2:-1]], count)
    with _benches(registered["problem"], workers, allow_degraded) as benches:
        if why := same_setting(registered, benches.setting(candidate, sealing)):
            raise CertificateRejected(f"{path}: its documents cannot be examined again here: {why}.")
        for one, difference in compare(documents, lambda keys: benches.examine(candidate, sealing, keys)):
            number = one["document"] + 1  # from 1, as `certify` counts them
            if difference:
                raise CertificateRejected(
                    f"{path} is rejected: document {number} examined again: {difference}. On another kind of "
                    "processor, units next to epsilon may differ by rounding."
                )
            sys.stderr.write(f"document {number} gives the same outcome\n")
    drawn = "1 document" if len(documents) == 1 else f"{len(documents)} documents"
    return f"{drawn} drawn and examined again: same text, same outcome of every unit"
