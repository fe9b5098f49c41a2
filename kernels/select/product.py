"""Tokens by product-quantised keys: PQCache's selection (Zhang et al. 2024, arXiv:2407.12820) in four launches.

    score = sum_g sum_m q_g,m . C_m[code_m],

a sum of entries of one table of m * 2 ** bits numbers, computed once for each query: the inner product with the group's
summed queries, so that one table serves the group. (The seed `pqcache` sums the softmaxes of the group's heads instead,
which takes a table of each and all tokens' sums before the first can be ranked.) Chosen are sinks and window, then the
greatest scores, exactly or within a bin, see `tables`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import DTYPES, one_device, whole, whole_query
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.gains_kernel import product_tables
from vevolve.kernels.select.tables import Tables, kept, room_for

MOST_ENTRIES = 256
AT_ONCE = 16384
"""Numbers of all codebooks of a head that a program holds at once."""


@dataclass(frozen=True)
class Product(Tables):
    """The selection of one layer by product quantisation.

    Attributes:
        codebooks: [H, m, 2 ** bits, d / m], or [B, H, ...] where each sequence has its own.
    """

    codebooks: torch.Tensor

    @staticmethod
    def of(
        codebooks: torch.Tensor,
        codes: torch.Tensor,
        lengths: torch.Tensor,
        wanted: int,
        sinks: int = 4,
        window: int = 0,
        passes: int = 1,
        chunk: int | None = None,
    ) -> Product:
        """Prepare the selection of `wanted` tokens of each KV head.

        Args:
            codebooks: [H, m, 2 ** bits, d / m] or [B, H, m, 2 ** bits, d / m], 1 to 8 bits, of the query's type.
            codes: uint8 [B, H, capacity, m], the number of each part's nearest centroid.
            lengths: int32 [B], visible tokens.
            wanted: tokens to choose, sinks and window included.
            sinks: first tokens that are always chosen.
            window: newest tokens that are always chosen.
            passes: over all tokens; 1 chooses within a bin of the threshold, each further one 32 times as finely.
            chunk: tokens of a program, a power of two; by default so that the GPU is filled.

        Raises:
            BadInput: shapes, types, strides, or more sinks and window than tokens wanted.
        """
        if codes.dim() != 4:
            raise BadInput(f"Expected codes of shape [B, H, capacity, m], got {list(codes.shape)}.")
        batch, heads, capacity, parts = codes.shape
        whole("codes", codes, torch.uint8, (batch, heads, None, None))
        whole("lengths", lengths, torch.int32, (batch,))
        if codebooks.dtype not in DTYPES:
            raise BadInput(f"Expected codebooks of bfloat16, float16 or float32, got {codebooks.dtype}.")
        if not parts:
            raise BadInput("Expected codes of at least one part, got none.")
        own = (batch,) if codebooks.dim() == 5 else ()
        whole("codebooks", codebooks, codebooks.dtype, (*own, heads, parts, None, None))
        one_device(codebooks, codes, lengths)
        entries = codebooks.shape[-2]
        if entries & (entries - 1) or not 2 <= entries <= MOST_ENTRIES:
            raise BadInput(f"Expected codebooks of 2, 4, 8, ... or 256 centroids, got {entries}.")
        if passes < 1:
            raise BadInput(f"Expected at least one pass, got {passes}.")
        room = room_for(batch, heads, capacity, wanted, sinks, window, chunk, codes)
        tables = torch.empty(batch * heads, parts, entries, dtype=torch.int16, device=codes.device)
        scores = None
        if kept(parts, entries):
            scores = torch.empty(batch, heads, capacity, dtype=torch.int32, device=codes.device)
        return Product(lengths, sinks, window, room, codes, None, None, tables, scores, False, passes, codebooks)

    def __call__(self, query: torch.Tensor, checked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Args:
            query: contiguous, of the type of the codebooks.
            checked: also look at codes and lengths, which waits for the device; else a code beyond the codebook counts
                modulo its size.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous; with `checked` also codes and lengths.
        """
        batch, heads, _, parts = self.codes.shape
        entries, span = self.codebooks.shape[-2:]
        whole_query(query, self.codebooks.dtype, (batch, heads, parts * span), self.codes)
        if checked:
            self.check_content()
        launch(
            product_tables,
            (batch * heads,),
            query,
            self.codebooks,
            self.tables,
            UNITS=heads,
            OWN=self.codebooks.dim() == 5,
            GROUP=query.shape[2],
            PARTS=parts,
            ENTRIES=entries,
            SPAN=span,
            SPAN_PADDED=power_of_two(span),
            ROWS=parts if power_of_two(parts) == parts and parts * entries * span <= AT_ONCE else 1,
            OVERLAP=overlaps(query.device),
            num_warps=8,
            **options(query.device),
        )
        return self.choose()


def encode(keys: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """The nearest centroids of keys [B, H, n, d] in codebooks [(B,) H, m, 2 ** bits, d / m], uint8 [B, H, n, m]."""
    parts = keys.float().reshape(*keys.shape[:3], codebooks.shape[-3], -1).transpose(2, 3)  # [B, H, m, n, d / m]
    books = codebooks.float()
    # |k - c|^2 less what all centroids share.
    distances: torch.Tensor = books.square().sum(dim=-1)[..., None, :] / 2 - parts @ books.mT
    return distances.argmin(dim=-1).mT.contiguous().to(torch.uint8)
