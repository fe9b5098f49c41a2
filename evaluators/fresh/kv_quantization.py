"""Fresh synthetic documents for `kv_quantization`: those of `sparse_decode`, whose families it shares."""

from __future__ import annotations

from vevolve.evaluators.fresh.sparse_decode import draw

__all__ = ["draw"]
