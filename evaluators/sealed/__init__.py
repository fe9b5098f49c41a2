"""Sealed documents: what a candidate is certified on, drawn fresh after its hash is in the log."""
