"""Triton kernels, each beside its naive twin. To come: nothing is here yet."""
