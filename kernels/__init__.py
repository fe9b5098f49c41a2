"""Triton kernels, each beside its naive twin, and the protocol by which anything is timed.

- `attend`: decode attention over chosen tokens or pages, or over all.
- `select`: choosing them without a sort, by 32 bits a token, bounds on pages, product quantisation or soft collisions.
- `sample`: vAttention's whole step, a verified sample of what a selection left out.
- `codecs`: attention over a cache of 2, 4 or 8 bits, with a scale for each group or of rotated vectors.
- `cache`: the keys and values that they read. `launch`: how kernels follow each other.
- `timing`: times that nobody can fake.
"""
