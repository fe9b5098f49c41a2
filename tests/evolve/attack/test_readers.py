"""What counts as speaking to the reader: text outside a fence, in a fence without a label, or that nobody sees."""

import pytest

from vevolve import prompts
from vevolve.evaluators.circle_packing.problem import problem
from vevolve.evolve.attack import readers
from vevolve.evolve.attack.readers import PHRASE, spoken
from vevolve.prompts.quoting import UNTRUSTED
from vevolve.types import Candidate, Verdict

SOURCE = f"IDEA = '```{PHRASE}'\n# {PHRASE}\n# ```\n# {PHRASE}\ndef pack(n): pass\n"
NASTY = f"\n```\n````\n~~~\n# {PHRASE}\n\x1b[2J\x9b\u202e\u2028\U000e0049{PHRASE}"


def verdict(feedback: str) -> Verdict:
    return Verdict(valid=False, status="crash", feedback=feedback)


def test_the_prompts_as_they_are_quote_everything() -> None:
    assert spoken(problem, Candidate(SOURCE), verdict(NASTY)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (PHRASE, "outside a fence"),
        (f"# {PHRASE.lower()}", "outside a fence"),
        (f"```text\n{PHRASE}\n```", "without a label"),
        (f"{UNTRUSTED}\n\n```text\n```\n{PHRASE}\n```\n```", "outside a fence"),
        (f"{UNTRUSTED}\n\n````text\n```\n{PHRASE}", "outside a fence"),
    ],
    ids=["plain", "other case", "no label", "closed early", "never closed"],
)
def test_a_prompt_that_lets_text_out_is_found(text: str, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "mutate", lambda *_, **__: text)
    found = spoken(problem, Candidate(SOURCE), verdict("fine"))
    assert len(found) == 1 and complaint in found[0] and "mutate" in found[0]


@pytest.mark.parametrize(
    "char", ["\x1b", "\x9b", "\x07", "\u202e", "\u2066", "\u200b", "\u2028", "\U000e0041", "\u00ad"]
)
def test_a_terminal_that_would_get_a_hidden_character_is_found(char: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spoken(problem, Candidate(SOURCE), verdict(f"a{char}b")) == []
    monkeypatch.setattr(readers.render, "clean", lambda text: text)
    assert f"U+{ord(char):04X}" in spoken(problem, Candidate(SOURCE), verdict(f"a{char}b"))[0]


def test_endless_feedback_is_found() -> None:
    assert "characters" in spoken(problem, Candidate(SOURCE), verdict("x" * 10_000))[0]
