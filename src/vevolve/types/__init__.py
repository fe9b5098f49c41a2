"""The nouns of vEvolve: values that cross every boundary, and the protocol of a subject.

Values are frozen and survive JSON. Protocols stand where implementations really vary. Nothing here imports torch,
ray or a model client, so that an archive opens on a laptop.
"""

from vevolve.types.program import Candidate, Signature, canonical, parse_program
from vevolve.types.subject import Array, Arrays, Frame, Json, Process, Resident, Returns, Service, Settings, Subject
from vevolve.types.values import CandidateFault, Level, Seed, Split, Status, Value
from vevolve.types.verdict import Bound, Containment, Cost, Objective, Point, Verdict

__all__ = [
    "Array",
    "Arrays",
    "Bound",
    "Candidate",
    "CandidateFault",
    "Containment",
    "Cost",
    "Frame",
    "Json",
    "Level",
    "Objective",
    "Point",
    "Process",
    "Resident",
    "Returns",
    "Seed",
    "Service",
    "Settings",
    "Signature",
    "Split",
    "Status",
    "Subject",
    "Value",
    "Verdict",
    "canonical",
    "parse_program",
]
