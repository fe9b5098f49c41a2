"""Decode kernels: the candidate is Triton source, read as data, launched by the problem and judged on hidden shapes."""
