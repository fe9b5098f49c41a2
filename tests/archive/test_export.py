"""An exported program runs as it was, says where it came from, and no text of a model leaves its place."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vevolve.archive import Archive, Record
from vevolve.archive.events import Told
from vevolve.archive.export import export, write
from vevolve.errors import ArchiveError, BadInput
from vevolve.types import Candidate, Verdict

Tell = Callable[..., Told]
SOURCE = '"""Doc."""\nfrom __future__ import annotations\nx = 1\n'


@pytest.fixture
def record(archive: Archive, tell: Tell) -> Record:
    archive.append(tell(3, SOURCE, (0.1, 0.5), idea="fewer pages", parents=("ab" * 32,)))
    return archive.records()[0]


def test_the_header_tells_where_a_program_came_from(archive: Archive, record: Record) -> None:
    text = export(record, archive.started)
    header, _, program = text.partition("\n\n")
    for part in (record.id, "sparse_decode", "a-run", "offline, mutate, iteration 3", "ab" * 32, "fewer pages"):
        assert part in header
    assert "0 tokens: traffic 0.1, error 0.5" in header.replace("error 0.5, traffic 0.1", "traffic 0.1, error 0.5")
    assert "sandbox" in header and "Read it before you run" in header
    assert program == SOURCE
    assert Candidate(text).tree_hash == Candidate(SOURCE).tree_hash


HOSTILE = st.text(max_size=60) | st.lists(
    st.sampled_from(["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", '"""', "'''", "`", "```", "import os", "#"])
).map("".join)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(idea=HOSTILE, proposer=HOSTILE)
@example(idea="x\nimport os\n", proposer="\rimport os")
@example(idea='"""\nimport os', proposer="coding: utf-7")
@example(idea="\x00\u2029evil = 1", proposer="-*- coding: rot13 -*-")
def test_no_text_leaves_the_header(archive: Archive, record: Record, idea: str, proposer: str) -> None:
    told = Record(**{**vars(record), "idea": idea, "proposer": proposer})
    text = export(told, archive.started)
    assert ast.dump(ast.parse(text.encode())) == ast.dump(ast.parse(SOURCE))
    assert tokenize.detect_encoding(io.BytesIO(text.encode()).readline)[0] == "utf-8"
    header, _, program = text.partition("\n\n")
    assert program == SOURCE
    assert all(line.startswith("#") and line.isprintable() for line in header.splitlines())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(idea=HOSTILE)
@example(idea="``` <script>alert(1)</script> [x](javascript:1)")
def test_no_text_leaves_its_place_in_markdown(archive: Archive, record: Record, idea: str) -> None:
    source = f"x = 1\n# ```\n# {'`' * 5}\n"
    told = Record(**{**vars(record), "idea": idea, "source": source})
    lines = export(told, archive.started, "md").splitlines()
    fence = "`" * 6
    assert [number for number, line in enumerate(lines) if line.startswith(fence)] == [len(lines) - 5, len(lines) - 1]
    assert lines[-4:-1] == source.splitlines()
    for line in lines[4:-6]:
        _, _, value = line.partition(": ")
        ticks = len(value) - len(value.lstrip("`"))
        assert ticks and value.endswith(" " + "`" * ticks)
        assert "`" * ticks not in value[ticks:-ticks]


def test_a_reply_without_a_program_is_not_exported(archive: Archive, tell: Tell, fail: Callable[..., Verdict]) -> None:
    archive.append(tell(1, "Sorry, I cannot.", verdict=fail("unapplied")))
    with pytest.raises(BadInput, match="held no program"):
        export(archive.records()[0], archive.started)


def test_files_are_written_once_with_parameters_beside(tmp_path: Path, archive: Archive, tell: Tell) -> None:
    archive.append(tell(1, SOURCE, (0.1, 0.5), params="AAEC"))
    (record,) = archive.records()
    written = write(record, archive.started, tmp_path / "best.py")
    assert written == [tmp_path / "best.py", tmp_path / "best.safetensors"]
    assert written[0].read_text() == export(record, archive.started) and written[1].read_bytes() == b"\0\1\2"
    with pytest.raises(BadInput, match="exists already"):
        write(record, archive.started, tmp_path / "best.py")
    with pytest.raises(ArchiveError, match="cannot be written"):
        write(record, archive.started, tmp_path / "nowhere" / "best.md")
    with pytest.raises(BadInput, match=r"as \.py or \.md"):
        write(record, archive.started, tmp_path / "best.txt")
