"""The texts that models are asked with: Markdown templates, and the functions that fill them."""

from vevolve.prompts.quoting import fenced, untrusted, written
from vevolve.prompts.render import Failure, Form, Shown, apply_repair, crossover, mutate, repair, system

__all__ = [
    "Failure",
    "Form",
    "Shown",
    "apply_repair",
    "crossover",
    "fenced",
    "mutate",
    "repair",
    "system",
    "untrusted",
    "written",
]
