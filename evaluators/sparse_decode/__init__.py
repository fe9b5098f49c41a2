"""Sparse decoding: choose the tokens whose keys and values a decode step reads."""
