"""The offline proposer: a reply that applies, the same for the same seed, with parts of the problem's other seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vevolve import registry
from vevolve.evolve.edits import apply
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Request
from vevolve.evolve.proposers.offline import Offline, pool
from vevolve.types import Candidate, Seed

PARENT = Candidate(registry.seed_path("sparse_decode/vattention").read_text())
PROMPT = Prompt(system="", user="")


def request(number, *parents, donors=()):
    seed = Seed(b"0123456789abcdef").derive("propose", number)
    return Request(number, 0, "mutate", PROMPT, parents or (PARENT,), tuple(donors), seed)


def test_replies_apply_and_say_what_was_changed():
    for number in range(30):
        reply = Offline().propose(request(number))
        edit = apply(reply.text, PARENT.source)
        assert Candidate(edit.source).tree_hash != PARENT.tree_hash
        assert edit.idea and reply.text.startswith("Idea: ") and reply.usd == 0 and reply.model == "offline"


def test_the_same_seed_gives_the_same_reply_and_others_give_others():
    assert Offline().propose(request(7)) == Offline().propose(request(7))
    assert len({Offline().propose(request(number)).text for number in range(50)}) > 40


def test_a_program_that_holds_fences_of_its_own_still_applies():
    parent = Candidate('"""Use:\n\n```python\nrun()\n```\n"""\n\nGAIN = 2\n\n\ndef run():\n    return "````", GAIN\n')
    edit = apply(Offline().propose(request(1, parent)).text, parent.source)
    assert edit.source != parent.source and "```python\nrun()\n```" in edit.source and '"````"' in edit.source


def test_parts_come_from_the_seeds_of_the_same_problem_but_for_references():
    lent = pool(frozenset(PARENT.functions))
    expected = {
        source
        for name in registry.seed_names("sparse_decode")
        if "\nREFERENCE = True" not in (source := registry.seed_path(f"sparse_decode/{name}").read_text())
    }
    assert {candidate.source for candidate in lent} == expected
    assert pool(frozenset({"a_function_of_no_problem"})) == ()


def test_donors_lend_what_no_seed_has():
    parent = Candidate("def main(x):\n    return part(x)\n\n\ndef part(x):\n    return x\n")
    donor = Candidate("def part(x):\n    return x + x\n")
    texts = [Offline().propose(request(number, parent, donors=[donor])).text for number in range(10)]
    assert any("return x + x" in text for text in texts)


def test_a_broken_function_is_mended_from_a_program_that_has_a_sound_one():
    broken = Candidate(PARENT.source.replace("torch.cat([corners.to(keys.dtype), keys], dim=1)", "corners / keys"))
    sound = "torch.cat([corners.to(keys.dtype), keys], dim=1)"
    repairs = [replace(request(number, broken), operation="repair", donors=(PARENT,)) for number in range(20)]
    found = [apply(Offline().propose(one).text, broken.source).source for one in repairs]
    assert sum(sound in source for source in found) > 10
    assert not {Candidate(source).tree_hash for source in found} & {broken.tree_hash, PARENT.tree_hash}


def test_a_program_without_anything_to_change_fails_this_once():
    with pytest.raises(ProposalFailed, match="nothing to change"):
        Offline().propose(request(0, Candidate("pass\n")))


def test_costs_nothing():
    assert Offline().estimate(PROMPT) == 0.0 and Offline.name == "offline"
