"""Candidate programs that ship, one published method a file: `seeds/<problem>/<method>.py`."""
