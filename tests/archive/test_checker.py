"""The checker accepts what is genuine and says where anything else is not."""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vevolve.archive import certificates, checker
from vevolve.errors import BadInput

FILE = Path(checker.__file__)
Change = Callable[[dict[str, Any]], None]


def rows(certificate: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = certificate["log"]["rows"]
    return found


def rehashed(certificate: dict[str, Any]) -> None:
    """What a forger does who knows how the chain is made: every hash anew, the numbers of rows too."""
    seq, hash = certificate["log"]["before"]["seq"], certificate["log"]["before"]["hash"]
    for row in rows(certificate):
        text = json.dumps(row["event"], sort_keys=True, separators=(",", ":"))
        hash = hashlib.sha256(f"{hash}[{json.dumps(row['time'])},{text}]".encode()).hexdigest()
        seq += 1
        row["seq"], row["hash"] = seq, hash
    certificate["log"]["head"] = {"seq": seq, "hash": hash}


def flip(text: str) -> str:
    return ("1" if text[0] == "0" else "0") + text[1:]


def outcome(certificate: dict[str, Any]) -> None:
    over = rows(certificate)[7]["event"]["over"]["3"]
    over[1] = flip(over[1])


def tokens(certificate: dict[str, Any]) -> None:
    event = rows(certificate)[9]["event"]
    event["differs"] = flip(event["differs"])


def delta_everywhere(certificate: dict[str, Any]) -> None:
    certificate["statement"]["delta"] = rows(certificate)[0]["event"]["statement"]["delta"] = 0.09
    certificate["claim"] = checker.claim(rows(certificate)[0]["event"])


def more_failures(certificate: dict[str, Any]) -> None:
    for row in rows(certificate)[2:20]:
        row["event"]["over"]["7"][1] = "1" * len(row["event"]["over"]["7"][1])


def no_head(certificate: dict[str, Any]) -> None:
    for row in rows(certificate)[2:-1]:
        del row["event"]["over"]["7"]


def no_step(certificate: dict[str, Any]) -> None:
    rows(certificate)[0]["event"]["generator"]["steps"] = 0
    certificate["claim"] = checker.claim(rows(certificate)[0]["event"])


def swap(certificate: dict[str, Any]) -> None:
    found = rows(certificate)
    found[0], found[1] = found[1], found[0]


def other_program(certificate: dict[str, Any]) -> None:
    certificate["candidate"]["source"] += "# better\n"


def other_candidate(certificate: dict[str, Any]) -> None:
    certificate["candidate"]["source"] += "# better\n"
    certificate["candidate"]["id"] = checker.candidate_id(certificate["candidate"]["source"], None)


def set_statement(name: str, value: Any) -> Change:
    return lambda certificate: certificate["statement"].__setitem__(name, value)


def set_registered(name: str, value: Any) -> Change:
    def change(certificate: dict[str, Any]) -> None:
        certificate["statement"][name] = rows(certificate)[0]["event"]["statement"][name] = value
        certificate["claim"] = checker.claim(rows(certificate)[0]["event"])

    return change


# What is changed; whether the forger makes the chain anew; what the message must name.
TAMPERED: dict[str, tuple[Change, bool, str]] = {
    "one outcome": (outcome, False, r"row 9 \(examined, document 5\) was changed"),
    "one greedy token": (tokens, False, r"row 11 \(examined, document 7\) was changed"),
    "one outcome, chain made anew": (outcome, True, r"row \d+ \(concluded\): .* is stated as"),
    "failures hidden no more": (more_failures, True, r"\(concluded\): "),
    "the secret": (lambda c: rows(c)[1]["event"].update(nonce="00" * 16), False, r"row 3 \(unsealed\) was changed"),
    "the secret, chain made anew": (
        lambda c: rows(c)[1]["event"].update(nonce="00" * 16), True, r"row 4 \(examined, document 0\): its key",
    ),
    "a document's key": (lambda c: rows(c)[4]["event"].update(key="00" * 16), True, r"document 2\): its key"),
    "delta where it is read": (set_statement("delta", 0.05), False, "statement: delta is 0.05, and row 2"),
    "delta in the log": (delta_everywhere, False, r"row 2 \(registered\) was changed"),
    "delta everywhere, chain made anew": (delta_everywhere, True, r"document 0\): its key does not follow"),
    "epsilon": (set_registered("epsilon", 0.01), True, "its key does not follow"),
    "a level that another attempt may spend": (set_registered("level", 0.05), True, "attempt 1 spends"),
    "a first attempt made of a later one": (set_statement("attempt", 2), False, "statement: attempt is 2"),
    "the claim's words": (lambda c: c.update(claim="It is perfect."), False, "claim: it does not say"),
    "the figures": (lambda c: c["figures"].update(pooled_rate=2.0), False, "figures: it does not say"),
    "a dropped document": (lambda c: rows(c).pop(5), False, "row 7 of the log is missing"),
    "a dropped document, chain made anew": (
        lambda c: rows(c).pop(5), True, "expected document 3; one was dropped or moved",
    ),
    "the last document dropped, chain made anew": (lambda c: rows(c).pop(-2), True, r"\(concluded\): it counts"),
    "the order of events": (swap, False, "row 2 of the log is missing; row 3 stands in its place"),
    "the order of events, chain made anew": (swap, True, r"row 2 \(unsealed\): expected an event 'registered'"),
    "a truncated log": (lambda c: c["log"].update(rows=rows(c)[:-4]), False, "the log ends at row .*: cut short"),
    "a truncated log with a new head": (
        lambda c: c["log"].update(rows=rows(c)[:-4]), True, "expected an event 'concluded' here",
    ),
    "all rows but the first gone": (lambda c: c["log"].update(rows=rows(c)[:1]), True, "no 'unsealed': truncated"),
    "no rows": (lambda c: c["log"].update(rows=[]), True, "no 'registered': truncated"),
    "a layer left out": (no_head, True, r"document 0\): expected 2 KV heads of each of 2 layers"),
    "a unit left out": (
        lambda c: rows(c)[2]["event"]["over"]["3"].__setitem__(0, "000"), True, "expected 8 units a head",
    ),
    "outcomes that are none": (
        lambda c: rows(c)[2]["event"].update(differs="0x00"), True, "outcomes are written as 0 and 1",
    ),
    "the program": (other_program, False, "candidate: the program does not have the hash"),
    "the program and its hash": (other_candidate, False, r"row 2 \(registered\): it is about another candidate"),
    "another format": (lambda c: c.update(format=2, vevolve="9.1"), False, "written by vEvolve 9.1"),
    "a field gone": (lambda c: c["log"].pop("head"), False, "not of the form it should have"),
    "a verdict of no": (lambda c: rows(c)[-1]["event"].update(issued=False), True, "do not support the claim"),
    "no step": (no_step, True, "its key does not follow"),
    "more documents than were planned": (set_registered("documents", 12), True, "its key does not follow"),
}  # fmt: skip


def test_a_forger_who_makes_everything_anew_meets_a_rejection_and_no_crash(certificate: dict[str, Any]) -> None:
    """Documents without a unit, and an attempt of a number beyond any float."""
    empty, late = copy.deepcopy(certificate), copy.deepcopy(certificate)
    no_step(empty)
    set_registered("attempt", 10**400)(late)
    for row in rows(empty)[2:-1]:
        row["event"]["over"] = {layer: [""] * len(found) for layer, found in row["event"]["over"].items()}
        row["event"]["differs"] = ""
    for forged in (empty, late):
        rehashed(forged)
        root = checker.hmac.new(
            bytes.fromhex(rows(forged)[1]["event"]["nonce"]), rows(forged)[0]["hash"].encode(), hashlib.sha256
        ).digest()[:16]
        for number, row in enumerate(rows(forged)[2:-1]):
            row["event"]["key"] = checker.derive(root, "document", number).hex()
        rehashed(forged)
        with pytest.raises(checker.Rejected, match="not of the form it should have"):
            checker.check(forged)


def test_a_genuine_certificate_is_accepted_with_its_figures(certificate: dict[str, Any]) -> None:
    found = checker.check(certificate)
    assert found == certificate["figures"] and found["passes"] and found["heads_passed"] == found["heads"] == 4
    assert found["pooled_rate"] < found["worst_head_upper"] and found["worst_head_rate"] <= 0.1


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_certificate_is_rejected_and_the_place_is_named(name: str, certificate: dict[str, Any]) -> None:
    change, anew, told = TAMPERED[name]
    changed = copy.deepcopy(certificate)
    change(changed)
    if anew:
        rehashed(changed)
    with pytest.raises(checker.Rejected, match=told):
        checker.check(changed)


def test_rehashing_an_unchanged_certificate_changes_nothing(certificate: dict[str, Any]) -> None:
    changed = copy.deepcopy(certificate)
    rehashed(changed)
    assert changed == certificate


def test_the_checker_is_one_short_file_that_imports_nothing_of_the_rest() -> None:
    text = FILE.read_text()
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    roots = {name.partition(".")[0] for name in imported}
    assert len(text.splitlines()) <= 300
    assert roots - set(sys.stdlib_module_names) == {"numpy", "scipy"}


def test_the_checker_runs_by_itself_from_another_folder(certificate: dict[str, Any], tmp_path: Path) -> None:
    alone = tmp_path / "checker.py"
    alone.write_text(FILE.read_text())
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(certificate))
    bad.write_text(json.dumps(certificate)[:-40])
    done = subprocess.run([sys.executable, "-I", alone, good, bad], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    first, second = done.stdout.splitlines()
    assert "good.json: accepted" in first and "bad.json: REJECTED" in second


def test_a_certificate_survives_its_file(certificate: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    certificates.write(certificate, path)
    assert certificates.read(path) == certificate and checker.check(certificates.read(path))["passes"]
    assert certificates.candidate_of(certificate).id == certificate["candidate"]["id"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "may be cut short"),
        ('{"format": ' + "[" * 100_000, "may be cut short"),
        ("[]", "found other JSON"),
        ('{"a": 1}', "found other JSON"),
    ],
)
def test_a_file_that_holds_no_certificate_is_refused_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=told):
        certificates.read(path)
    with pytest.raises(BadInput, match="cannot read"):
        certificates.read(tmp_path / "none.json")


def test_parameters_belong_to_the_hash_of_a_candidate() -> None:
    from vevolve.types import Candidate

    with_params = Candidate("x = 1\n", b"\x00\x01")
    assert checker.candidate_id("x = 1\n", "AAE=") == with_params.id
    assert checker.candidate_id("x = 1\n", None) == Candidate("x = 1\n").id != with_params.id


@pytest.fixture(scope="session")
def certificate() -> dict[str, Any]:
    """A genuine certificate, made by the attempt whose tests stand in tests/evolve/certification."""
    place = Path(__file__).parents[1] / "evolve/certification/conftest.py"
    spec = importlib.util.spec_from_file_location("certification_lab", place)
    assert spec is not None and spec.loader is not None
    lab = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lab)
    import tempfile

    with tempfile.TemporaryDirectory() as folder, lab.ledger(Path(folder) / "log") as archive:
        found = lab.tried(archive, lab.steady(0.004, 0.002))
        assert found.concluded.issued
        made: dict[str, Any] = certificates.assemble(archive, found.seq, lab.CANDIDATE, "0.1.0")
        return made
