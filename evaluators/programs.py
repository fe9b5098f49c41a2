"""Read a candidate from disk: the program and, where a safetensors file of the same stem lies beside it, its params."""

from __future__ import annotations

from pathlib import Path

from vevolve.errors import BadInput
from vevolve.types import Candidate

MAX_PARAMS = 8 << 20
"""Bytes of a candidate's parameters at most."""


def params_of(program: Path) -> Path:
    """Where the parameters of a program lie, if it has any."""
    return program.with_suffix(".safetensors")


def read_program(path: Path) -> Candidate:
    """The candidate in a file.

    Raises:
        BadInput: the program is no text, the parameters are too large, or one of them cannot be read.
    """
    params = params_of(path)
    try:
        source = path.read_text(encoding="utf-8")
        if not params.is_file():
            return Candidate(source)
        size = params.stat().st_size
        if size > MAX_PARAMS:
            raise BadInput(f"The parameters {params} hold {size:,} bytes; at most {MAX_PARAMS:,} (8 MiB) are taken.")
        return Candidate(source, params.read_bytes())
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no program: expected text in UTF-8, found other bytes at {error.start}.") from error
    except OSError as error:
        raise BadInput(f"Cannot read {error.filename or path}: {error.strerror}.") from error
