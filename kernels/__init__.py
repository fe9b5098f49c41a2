"""Triton kernels, each beside its naive twin, and the protocol by which anything is timed.

- `attend`: decode attention over chosen tokens or pages, or over all.
- `select`: choosing them, by 32 bits a token or by bounds on pages.
- `codecs`: attention over a cache of 2, 4 or 8 bits.
- `cache`: the keys and values that they read. `launch`: how kernels follow each other.
- `timing`: times that nobody can fake.
"""
