"""certify, audit, verify and the front's column, with a model of a few thousand weights; one test with the real one."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from vevolve import __version__
from vevolve.archive import Archive, certificates
from vevolve.archive.certificates import assemble
from vevolve.evolve.certification.again import chosen
from vevolve.evolve.certification.attempt import attempt
from vevolve.evolve.certification.plan import Plan
from vevolve.evolve.cli import main
from vevolve.types import Candidate

EXACT = '''"""Attends to every token: exact at any budget that does not bind."""

VERIFIED = True


def select(query, cache):
    import torch

    ids = torch.arange(cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
'''
TAIL = EXACT.replace("torch.arange(cache.n)", "torch.arange(cache.n - 2, cache.n)").replace("every token", "two tokens")
PLAN = Plan(epsilon=0.1, delta=0.1)
SMALL = ["--tokens", "96", "--steps", "3", "--workers", "1", "--epsilon", "0.1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers whose tokens are characters, saved as a folder."""
    transformers = pytest.importorskip("transformers", reason="recording needs the extra vevolve[record]")
    tokenizers = pytest.importorskip("tokenizers", reason="recording needs the extra vevolve[record]")
    import torch

    folder = tmp_path_factory.mktemp("models") / "tiny"
    letters = {chr(code): place for place, code in enumerate([*range(32, 127), 10])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({**letters, "[UNK]": len(letters)}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(letters) + 1, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, head_dim=8,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(one) for one in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


# Three commands that each start processes with torch and transformers: slow on a busy machine.
@pytest.mark.timeout(1200)
def test_a_program_is_certified_verified_and_its_documents_give_the_same_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exact.py").write_text(EXACT)
    ask = ["certify", "exact.py", "--delta", "0.4", "--model", tiny, "--out", "c.json", *SMALL, "--allow-degraded"]
    code, out, err = invoke(capsys, *ask)
    assert code == 0, err
    assert out.startswith("certified: every head and the tokens passed after") and "Wrote c.json" in out
    assert "document 1 of at most 60" in err
    certificate = certificates.read(tmp_path / "c.json")
    generator = certificate["log"]["rows"][0]["event"]["generator"]
    assert (generator["layers"], generator["heads"], generator["group"]) == ([0, 1], 2, 2)
    tests, _, limits = out.partition("Upper limits that hold for all heads and the tokens at once")
    assert "4 of 4 heads passed, each tested by itself against delta" in tests
    assert "at most" not in tests.partition("heads passed")[2]
    assert limits.startswith(", so looser than those tests and not what is certified: ")
    assert "proved" not in out.lower() and "replay" not in out.lower()

    ledger = next((tmp_path / "runs/certificates").iterdir())
    code, out, err = invoke(
        capsys, "verify", "c.json", "--rerun", "2", "--log", ledger, "--workers", "1", "--allow-degraded"
    )
    assert code == 0, err
    assert "accepted" in out and "same outcome of every unit" in out and "0 earlier attempts" in out
    picked = chosen([row["event"] for row in certificate["log"]["rows"][2:-1]], 2)
    told = [int(number) for number in re.findall(r"document (\d+) gives the same outcome", err)]
    assert told == [one["document"] + 1 for one in picked]

    code, out, err = invoke(capsys, "audit", "c.json", "--workers", "1", "--allow-degraded", "--json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert found["issued"] and found["statement"]["attempt"] == 2
    with Archive.open(ledger) as archive:
        archive.verify()
        assert sum(certificates.attempts(archive).values()) == 2


def test_a_program_that_reads_too_little_gets_no_certificate_and_is_told_where_it_fails(
    tiny: Path, lab: Any, tmp_path: Path
) -> None:
    from vevolve.evaluators.contract import Sealing, load
    from vevolve.evaluators.testing.plain import PlainSubject
    from vevolve.evolve.certification.bench import Bench
    from vevolve.types import Containment

    class Plain:
        containment = Containment(level="L2")

        def subject(self, candidate: Candidate) -> PlainSubject:
            return PlainSubject(candidate, "torch")

        def close(self) -> None: ...

    bench, candidate = Bench(load("sparse_decode"), "sparse_decode", Plain), Candidate(TAIL)
    sealing = Sealing(epsilon=0.1, delta=0.2, model=str(tiny), tokens=96, steps=3, layers=(1,))
    with lab.ledger(tmp_path / "log") as archive:
        setting, plan = bench.setting(candidate, sealing), Plan(epsilon=0.1, delta=0.2)
        found = attempt(archive, candidate, setting, plan, lambda keys: bench.examine(candidate, sealing, keys))
    assert setting.generator["layers"] == [1]
    assert not found.concluded.issued and found.concluded.documents < 20
    assert "2 of 2 KV heads were not shown" in found.concluded.reason and "shown to exceed it" in found.concluded.reason


BAD: dict[str, tuple[list[str], str]] = {
    "epsilon of 0": (["--epsilon", "0", "--delta", "0.1"], "--epsilon must lie between 0 and 1"),
    "delta of 1": (["--epsilon", "0.1", "--delta", "1"], "--delta must lie between 0 and 1"),
    "delta that is no number": (["--epsilon", "0.1", "--delta", "x"], "found 'x'"),
    "too few documents": (
        ["--epsilon", "0.1", "--delta", "0.05", "--documents", "20"],
        "needs at least 77 documents with --method betting",
    ),
    "a method that is none": (["--epsilon", "0.1", "--delta", "0.1", "--method", "bets"], "No method named 'bets'"),
    "layers that are no numbers": (["--epsilon", "0.1", "--delta", "0.1", "--layers", "a"], "--layers takes numbers"),
    "a point that the program has not": (["--epsilon", "0.1", "--delta", "0.1", "--at", "65 tokens"], "64 tokens"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_before_anything_is_logged(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, told = BAD[case]
    code, out, err = invoke(capsys, "certify", "sparse_decode/vattention", "--out", "c.json", *arguments)
    assert code == 2 and out == "" and told in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_verifies_nothing_must_name_an_operating_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shares = ["--epsilon", "0.1", "--delta", "0.1", "--out", "c.json"]
    code, _, err = invoke(capsys, "certify", "sparse_decode/quest", *shares)
    assert code == 2 and "--at '128 tokens'" in err
    code, _, err = invoke(capsys, "certify", "circle_packing/grid", *shares)
    assert code == 2 and "circle_packing has no certificates" in err


def test_the_missing_model_is_told_with_the_one_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vevolve.errors import OFFLINE_MODEL, MissingDependency
    from vevolve.evaluators.contract import Sealing, load
    from vevolve.evaluators.programs import read_program
    from vevolve.evaluators.sparse_decode import models

    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    models.load.cache_clear()
    problem = load("sparse_decode")
    candidate = read_program(problem.seed("vattention"))
    with pytest.raises(MissingDependency, match=f"{re.escape(OFFLINE_MODEL)}$"):
        problem.certifier(candidate, Sealing(epsilon=0.1, delta=0.1))
    models.load.cache_clear()


def test_a_certificate_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text("mine")
    shares = ["--epsilon", "0.1", "--delta", "0.1"]
    code, _, err = invoke(capsys, "certify", "sparse_decode/vattention", *shares, "--out", "c.json")
    assert code == 2 and "never overwritten" in err and (tmp_path / "c.json").read_text() == "mine"
    code, _, err = invoke(capsys, "certify", "sparse_decode/vattention", *shares, "--out", "no/c.json")
    assert code == 2 and "make it first" in err


REJECTED = {
    "another version": (lambda c: c.update(format=7), "this checker reads format 1"),
    "a truncated log": (lambda c: c["log"]["rows"].pop(), "cut short"),
    "one outcome": (
        lambda c: c["log"]["rows"][3]["event"].update(differs="1111"),
        "(examined, document 1) was changed",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_verify_rejects_in_one_line_and_exits_with_1(
    case: str, certificate: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, told = REJECTED[case]
    changed = json.loads(json.dumps(certificate))
    change(changed)
    path = tmp_path / "c.json"
    path.write_text(json.dumps(changed))
    code, out, err = invoke(capsys, "verify", path)
    assert code == 1 and out == "" and told in err and err.count("\n") == 1


def test_verify_finds_the_rows_in_their_log_and_counts_the_attempts_before_them(
    lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lab.ledger(tmp_path / "log") as archive:
        lab.tried(archive, lab.steady(0.5))
        found = lab.tried(archive, lab.steady(0.0))
        certificates.write(assemble(archive, found.seq, lab.CANDIDATE, __version__), tmp_path / "c.json")
        for number in range(3):
            attempt(archive, Candidate(f"x = {number % 2}\n"), lab.setting(), PLAN, lab.examine(lab.steady(0.9)))
    with lab.ledger(tmp_path / "other") as archive:
        lab.tried(archive, lab.steady(0.0))
    code, out, _ = invoke(capsys, "verify", tmp_path / "c.json", "--log", tmp_path / "log")
    assert code == 0 and "1 earlier attempts at this program, and 3 at 2 others" in out
    code, _, err = invoke(capsys, "verify", tmp_path / "c.json", "--log", tmp_path / "other")
    assert code == 1 and "is another one" in err
    with lab.ledger(tmp_path / "short"):
        pass
    code, _, err = invoke(capsys, "verify", tmp_path / "c.json", "--log", tmp_path / "short")
    assert code == 1 and "is not there; the log ends at row 1: cut short" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"problem_hash": "beef"}, "has beef here"),
        ({"model": "another"}, "with model 'none'; here it is 'another'"),
    ],
)
def test_an_audit_under_another_problem_or_generator_is_refused_since_it_would_test_another_claim(
    change: dict[str, Any], told: str, certificate: dict[str, Any], lab: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    class Benches:
        def setting(self, candidate: Candidate, sealing: Any) -> Any:
            found = lab.setting()
            return found.model_copy(update={"generator": found.generator | change} if "model" in change else change)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vevolve.evolve.cli.certify._benches", lambda *given: contextlib.nullcontext(Benches()))
    (tmp_path / "c.json").write_text(json.dumps(certificate))
    code, out, err = invoke(capsys, "audit", "c.json")
    assert code == 1 and out == "" and "cannot be tested again here" in err and told in err
    assert [one.name for one in tmp_path.iterdir()] == ["c.json"]


def test_the_documents_that_are_examined_again_are_spread_and_always_the_same() -> None:
    documents = [{"document": number, "key": f"{number:032x}"} for number in range(40)]
    picked = [one["document"] for one in chosen(documents, 5)]
    assert picked == [one["document"] for one in chosen(documents, 5)] and len(set(picked)) == 5
    assert picked != [0, 1, 2, 3, 4] and chosen(documents, 0) == [] and len(chosen(documents, 99)) == 40


def test_the_front_marks_what_is_certified_and_the_run_goes_on(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = ["run", "circle_packing/grid", "-n", "4", "--workers", "inline", "--directory", tmp_path / "here"]
    assert main([str(one) for one in begin]) == 0
    capsys.readouterr()
    with Archive.open(tmp_path / "here", write=True) as archive:
        record, point = archive.front_points()[0]
        seconds = archive.seconds() if hasattr(archive, "seconds") else None
        setting = lab.setting().model_copy(update={"point": {"label": point.label}})
        plan, run = Plan(epsilon=0.1, delta=0.1), lab.examine(lab.steady(0.0))
        found = attempt(archive, record.candidate, setting, plan, run)
        assert found.concluded.issued
        assert seconds is None or archive.seconds() == seconds  # a certificate is no part of a session
    code, out, _ = invoke(capsys, "front", tmp_path / "here")
    assert code == 0 and "certificate" in out and "eps=0.1 delta=0.1" in out
    code, out, _ = invoke(capsys, "front", tmp_path / "here", "--json")
    marked = [one["certificates"] for one in json.loads(out) if one["id"] == record.id]
    assert marked == [{point.label: "eps=0.1 delta=0.1"}]
    code, _, err = invoke(capsys, "resume", tmp_path / "here", "-n", "6", "--json")
    assert code == 0, err
    with Archive.open(tmp_path / "here") as archive:
        archive.verify()
        assert archive.totals().evaluations == 6
    shutil.rmtree(tmp_path / "here")


@pytest.mark.slow
def test_the_offline_model_certifies_dense_attention_on_fresh_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exact.py").write_text(EXACT)
    ask = ["certify", "exact.py", "--epsilon", "0.05", "--delta", "0.4", "--out", "c.json", "--tokens", "512"]
    code, out, err = invoke(capsys, *ask, "--allow-degraded")
    assert code == 0, err
    assert "90 of 90 heads passed" in out
    code, out, err = invoke(capsys, "verify", "c.json", "--rerun", "1", "--allow-degraded")
    assert code == 0, err
