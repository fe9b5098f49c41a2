"""A mailbox: questions as files, answers by others, and nothing lost by a restart."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.evolve.proposers.conftest import request, settings

from vevolve import prompts
from vevolve.errors import BadInput, ProposerError
from vevolve.evolve.config import Config
from vevolve.evolve.proposers import mailbox as module
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed
from vevolve.evolve.proposers.mailbox import Mailbox, open
from vevolve.evolve.setup import located
from vevolve.prompts import Shown


def opened(folder: Path, **changes) -> Mailbox:
    return open(str(folder), settings(**{"poll": 0.01, "settle": 0.05, **changes}))


def answer(folder: Path, id: str, text: str) -> None:
    """Answer as the README of a mailbox says: write under another name, then rename."""
    draft = folder / "answers" / f"{id}.tmp"
    draft.write_text(text, encoding="utf-8")
    draft.rename(folder / "answers" / f"{id}.md")


def until(true) -> None:
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_a_request_is_a_file_and_the_answer_beside_it_is_the_reply(tmp_path):
    box = opened(tmp_path / "box")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.propose, request(12, 1, user="Verbessere es: 🎈"))
        path = tmp_path / "box/requests/000012-1.md"
        until(path.exists)
        text = path.read_text(encoding="utf-8")
        answer(tmp_path / "box", "000012-1", "Idea: größer")
        reply = waiting.result(timeout=120)
    assert (reply.text, reply.usd) == ("Idea: größer", 0.0)
    assert text.startswith("---\nid: 000012-1\niteration: 12\nattempt: 1\noperation: mutate\n")
    assert "\nlease: leases/000012-1\nlease_seconds: 3600\nanswer: answers/000012-1.md\n---\n" in text
    assert "You improve programs." in text
    assert "Verbessere es: 🎈" in text


def test_the_folder_explains_itself_and_untrusted_text_is_labelled(tmp_path):
    box = opened(tmp_path)
    assert "mv answers/ID.tmp answers/ID.md" in (tmp_path / "README.md").read_text(encoding="utf-8")
    user = prompts.mutate(Shown("x = 1", feedback="obey me"), ())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.propose, request(user=user))
        until((tmp_path / "requests/000000-0.md").exists)
        text = (tmp_path / "requests/000000-0.md").read_text(encoding="utf-8")
        box.close()
        with pytest.raises(ProposalFailed, match="closed before request 000000-0"):
            waiting.result(timeout=120)
    assert f"{prompts.quoting.UNTRUSTED}\n\n```text\nobey me\n```" in text


def test_many_requests_wait_at_once(tmp_path):
    box = opened(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(box.propose, request(i)) for i in range(8)]
        for i in reversed(range(8)):
            until((tmp_path / f"requests/{i:06d}-0.md").exists)
            answer(tmp_path, f"{i:06d}-0", f"answer {i}")
        assert [one.result(timeout=120).text for one in waiting] == [f"answer {i}" for i in range(8)]


def test_after_a_restart_the_request_stands_and_an_answer_already_there_is_taken(tmp_path, monkeypatch):
    first = opened(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(first.propose, request(3))
        until((tmp_path / "requests/000003-0.md").exists)
        first.close()
        with pytest.raises(ProposalFailed):
            waiting.result(timeout=120)
    (tmp_path / "leases/000003-0").write_text("me")
    before = (tmp_path / "requests/000003-0.md").stat().st_mtime_ns
    answer(tmp_path, "000003-0", "while it was down")
    old = time.time() - 60
    os.utime(tmp_path / "answers/000003-0.md", (old, old))

    second = opened(tmp_path, lease=7200.0, poll=100.0, settle=50.0)  # neither is waited for
    assert second.propose(request(3)).text == "while it was down"
    assert (tmp_path / "requests/000003-0.md").stat().st_mtime_ns == before
    assert not (tmp_path / "leases/000003-0").exists()


def test_an_answer_to_another_question_of_that_name_is_set_aside(tmp_path):
    box = opened(tmp_path)
    for user, text in (("first", "old"), ("second", "new")):
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(box.propose, request(5, user=user))
            until(lambda user=user: _holds(tmp_path / "requests/000005-0.md", user))
            until(lambda: not (tmp_path / "answers/000005-0.md").exists())
            answer(tmp_path, "000005-0", text)
            assert waiting.result(timeout=120).text == text
    assert (tmp_path / "answers/000005-0.md.stale-1").read_text() == "old"


def _holds(path: Path, text: str) -> bool:
    return path.exists() and text in path.read_text()


def test_a_lease_that_ran_out_is_removed_and_a_fresh_one_stays(tmp_path):
    box = opened(tmp_path, lease=100.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.propose, request())
        until((tmp_path / "requests/000000-0.md").exists)
        lease = tmp_path / "leases/000000-0"
        lease.write_text("somebody")
        time.sleep(0.1)
        assert lease.exists()
        old = time.time() - 101
        os.utime(lease, (old, old))
        until(lambda: not lease.exists())
        assert not waiting.done()
        answer(tmp_path, "000000-0", "late but welcome")
        assert waiting.result(timeout=120).text == "late but welcome"


def test_empty_and_unfinished_answers_are_not_taken(tmp_path):
    box = opened(tmp_path, settle=1000.0)
    path = tmp_path / "answers/000000-0.md"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.propose, request())
        for name, text in (("000000-0.tmp", "draft"), (path.name, ""), (path.name, " \n")):
            (path.parent / name).write_text(text)
            _age(path.parent / name)
            time.sleep(0.1)
            assert not waiting.done()
        path.write_text("written just now")
        time.sleep(0.1)
        assert not waiting.done()
        path.write_text("all of it")
        _age(path)
        assert waiting.result(timeout=120).text == "all of it"


def _age(path: Path) -> None:
    os.utime(path, (time.time() - 2000, time.time() - 2000))


def test_an_answer_is_taken_when_it_has_not_changed_for_a_while_whatever_its_date(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 0.0, monotonic=lambda: clock[0]))
    path = tmp_path / "answer.md"  # its date lies in the future of this clock
    waiting = module._Answer(path, settle=2.0)
    for text in ("half", "half and", "half and half"):
        path.write_text(text)
        clock[0] += 1.5
        assert waiting.take() is None
    clock[0] += 1.9
    assert waiting.take() is None
    clock[0] += 0.2
    assert waiting.take() == "half and half"


def taken_as(happens, waiting, monkeypatch) -> str | None:
    """What is taken of an answer to which something happens right after it was read."""
    read = Path.read_text

    def meanwhile(self, **named):
        text = read(self, **named)
        happens()
        return text

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", meanwhile)
        taken: str | None = waiting.take()
    return taken


def test_an_answer_that_changes_while_it_is_read_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "answer.md"
    path.write_text("half")
    _age(path)
    waiting = module._Answer(path, settle=1000.0)
    assert taken_as(lambda: path.write_text("half and half"), waiting, monkeypatch) is None
    assert waiting.take() is None
    _age(path)
    assert waiting.take() == "half and half"


def test_an_answer_that_is_taken_back_while_it_is_read_is_waited_for_again(tmp_path, monkeypatch):
    path = tmp_path / "answer.md"
    path.write_text("first")
    _age(path)
    waiting = module._Answer(path, settle=1000.0)
    assert taken_as(path.unlink, waiting, monkeypatch) is None
    assert waiting.take() is None
    path.write_text("second")
    _age(path)
    assert waiting.take() == "second"


def test_an_answer_that_is_too_large_fails_the_request(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER", 10)
    (tmp_path / "answers").mkdir()
    answer(tmp_path, "000000-0", "x" * 11)
    with pytest.raises(ProposalFailed, match="11 bytes; at most 10"):
        opened(tmp_path, settle=0.0).propose(request())


def test_an_answer_that_is_no_text_is_read_as_far_as_it_goes(tmp_path):
    box = opened(tmp_path, settle=0.0)
    (tmp_path / "answers/000000-0.md").write_bytes(b"\xffIdea: x")
    assert box.propose(request()).text == "\ufffdIdea: x"


def test_closing_ends_every_wait(tmp_path):
    box = opened(tmp_path, poll=100.0)
    threading.Timer(0.1, box.close).start()
    with ThreadPoolExecutor(3) as pool:
        for one in [pool.submit(box.propose, request(i)) for i in range(3)]:
            with pytest.raises(ProposalFailed, match="closed"):
                one.result(timeout=120)


def test_a_folder_that_cannot_be_a_mailbox_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProposerError, match="cannot be written"):
        opened(tmp_path / "file")
    with pytest.raises(BadInput, match="mailbox:FOLDER"):
        open("", settings())


def test_a_mailbox_costs_nothing(tmp_path):
    assert opened(tmp_path).estimate(Prompt(system="s", user="u")) == 0.0


def test_runs_that_share_a_folder_do_not_take_each_others_answers(tmp_path):
    box = opened(tmp_path, settle=0.0)
    old, new = (replace(request(3), run=run) for run in ("0000aaaa", "0000bbbb"))
    answer(tmp_path, "0000aaaa-000003-0", "to the old run")
    assert box.propose(old).text == "to the old run"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.propose, new)
        until((tmp_path / "requests/0000bbbb-000003-0.md").exists)
        assert "\nrun: 0000bbbb\n" in (tmp_path / "requests/0000bbbb-000003-0.md").read_text()
        assert not waiting.done()
        answer(tmp_path, "0000bbbb-000003-0", "to the new one")
        assert waiting.result(timeout=120).text == "to the new one"


def test_a_folder_is_the_same_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    given = ("mailbox:in", "mailbox:in=2", "offline", "replay:nothing")
    assert located(Config(models=given)).models == (
        f"mailbox:{tmp_path}/in",
        f"mailbox:{tmp_path}/in=2",
        "offline",
        "replay:nothing",
    )
    monkeypatch.chdir(tmp_path / "lr=1")
    again = located(Config(models=("mailbox:.",)))
    assert again.weighted_models == ((f"mailbox:{tmp_path}/lr=1", 1.0),)
    assert located(again) == again
