"""The small nouns: splits, statuses, levels, a candidate's fault, the base of all values, and randomness."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

Split = Literal["search", "select", "sealed"]
"""`search`: the loop and the models see it. `select`: chooses what is promoted. `sealed`: drawn on certification."""

Status = Literal[
    "ok",  # a valid verdict
    "syntax",  # the program does not parse
    "interface",  # a function is missing, or names an argument that does not exist
    "crash",  # the candidate raised, or its process died
    "timeout",  # it did not answer in time
    "resource",  # it asked for more memory, processes or bytes than allowed
    "protocol",  # it broke the wire format: early, extra, short or unbound bytes
    "wrong",  # it answered, and the answer breaks the problem's rules
    "unstable",  # the same question got two different answers
    "duplicate",  # the same program was examined before
    "unapplied",  # the reply held no program that could be applied
]

Level = Literal["L0", "L1", "L2", "L3"]


class CandidateFault(Exception):
    """A candidate failed. Raised while a subject is examined; it becomes an invalid verdict, never a crash of ours.

    Attributes:
        status: what kind of failure it was.
        feedback: what a model is told about it (text from the candidate is quoted and cut).
    """

    def __init__(self, status: Status, feedback: str) -> None:
        super().__init__(f"{status}: {feedback}")
        self.status: Status = status
        self.feedback = feedback

    def __reduce__(self) -> tuple[type[CandidateFault], tuple[Status, str]]:
        return CandidateFault, (self.status, self.feedback)


class Value(BaseModel):
    """A frozen value that survives JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Seed:
    """A secret that yields others, one-way: randomness keyed by what it is for, so that timing never matters."""

    key: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> Seed:
        """128 secret bits from the operating system."""
        return cls(secrets.token_bytes(16))

    def derive(self, *purpose: str | int) -> Seed:
        """The seed of one purpose. The parent cannot be computed from it."""
        message = "\0".join(f"{type(word).__name__}:{word}" for word in purpose).encode()
        return Seed(hmac.new(self.key, message, hashlib.sha256).digest()[:16])

    @property
    def integer(self) -> int:
        """63 bits, as the generators of numpy, torch and Python take them."""
        return int.from_bytes(self.key[:8], "little") >> 1
