"""Attention that reads a cache of 2, 4 or 8 bits, scaled or rotated, and dequantises it on the way."""
