"""Attention that reads a cache of 2, 4 or 8 bits and dequantises it on the way."""
