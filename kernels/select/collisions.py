"""Tokens by soft collisions in hash tables: SOCKET's selection (Joshi et al. 2026, arXiv:2602.06283) in five launches.

    b_l(j) = bits of 1[W_l k_j >= 0],  h = tanh(W_l q) / sqrt(d),  p_l = softmax_r(h . c_r / tau), c_r in {-1, 1}^P,
    score_j = sum_g sum_l p_g,l[b_l(j)], times |v_j| where norms are given.

The softmax over 2^P buckets is a product of sigmoids, sigmoid(2 tanh(W q) / (tau sqrt(d))) for each bit. A query's
tables, L * 2^P numbers with the group summed, are computed once; a token's score is a sum of L entries. Chosen are
sinks and window, then the greatest scores, exactly or within a bin, see `tables`.

60 tables of 10 bits are the paper's: 600 bits a token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import DTYPES, one_device, whole, whole_query
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.gains_kernel import soft_tables
from vevolve.kernels.select.tables import GAIN, Tables, room_for

LOW = 8
"""Bits of a bucket in a byte of its own; the next two share one with those of three other tables."""
MOST_PLANES = 10


@dataclass(frozen=True)
class Collisions(Tables):
    """The selection of one layer by soft collisions.

    Attributes:
        planes: [L * P, d], the normals of all planes, the same for every head.
        tau: the softmax's temperature.
    """

    planes: torch.Tensor
    tau: float

    @staticmethod
    def of(
        planes: torch.Tensor,
        low: torch.Tensor,
        high: torch.Tensor | None,
        lengths: torch.Tensor,
        wanted: int,
        sinks: int = 4,
        window: int = 0,
        *,
        norms: torch.Tensor | None = None,
        tau: float = 0.4,
        passes: int = 1,
        chunk: int | None = None,
    ) -> Collisions:
        """Prepare the selection of `wanted` tokens of each KV head.

        Args:
            planes: [L * P, d], P at most 10, of the query's type.
            low: uint8 [B, H, L, capacity], the lower eight bits of each token's bucket, from `encode`.
            high: uint8 [B, H, L / 4, capacity], the bits above, four tables in a byte; None where P is at most 8.
            lengths: int32 [B], visible tokens.
            wanted: tokens to choose, sinks and window included.
            sinks: first tokens that are always chosen.
            window: newest tokens that are always chosen.
            norms: float16 [B, H, capacity], |v| of each token, by which the published score is multiplied.
            tau: the softmax's temperature.
            passes: over all tokens; 1 chooses within a bin of the threshold, each further one 32 times as finely.
            chunk: tokens of a program, a power of two; by default so that the GPU is filled.

        Raises:
            BadInput: shapes, types, strides, or more sinks and window than tokens wanted.
        """
        if low.dim() != 4:
            raise BadInput(f"Expected low bits of shape [B, H, L, capacity], got {list(low.shape)}.")
        batch, heads, parts, capacity = low.shape
        whole("low", low, torch.uint8, (batch, heads, None, None))
        whole("lengths", lengths, torch.int32, (batch,))
        if planes.dtype not in DTYPES:
            raise BadInput(f"Expected planes of bfloat16, float16 or float32, got {planes.dtype}.")
        whole("planes", planes, planes.dtype, (None, None))
        if not parts:
            raise BadInput("Expected low bits of at least one table, got none.")
        count = len(planes) // parts
        if len(planes) % parts or not 1 <= count <= MOST_PLANES:
            raise BadInput(f"Expected 1 to {MOST_PLANES} planes for each of {parts} tables, got {len(planes)} planes.")
        if (high is None) != (count <= LOW):
            raise BadInput(
                f"Expected high bits where a table has more than {LOW} planes, and there alone; it has {count}."
            )
        if high is not None:
            if parts % 4:
                raise BadInput(f"Expected a multiple of four tables of more than {LOW} planes, got {parts}.")
            whole("high", high, torch.uint8, (batch, heads, parts // 4, capacity))
        if norms is not None:
            whole("norms", norms, torch.float16, (batch, heads, capacity))
        if not tau > 0:
            raise BadInput(f"Expected a temperature above 0, got {tau}.")
        if passes < 1:
            raise BadInput(f"Expected at least one pass, got {passes}.")
        one_device(planes, low, high, lengths, norms)
        room = room_for(batch, heads, capacity, wanted, sinks, window, chunk, low)
        tables = torch.empty(batch * heads, parts, 1 << count, dtype=torch.int16, device=low.device)
        scores = torch.empty(batch, heads, capacity, dtype=torch.int32, device=low.device)
        return Collisions(lengths, sinks, window, room, low, high, norms, tables, scores, True, passes, planes, tau)

    def __call__(self, query: torch.Tensor, checked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Args:
            query: contiguous, of the type of the planes.
            checked: also look at codes, norms and lengths, which waits for the device; else a code beyond the tables
                counts modulo their size.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous; with `checked` also contents.
        """
        batch, heads, parts, _ = self.codes.shape
        width = self.planes.shape[1]
        whole_query(query, self.planes.dtype, (batch, heads, width), self.codes)
        if checked:
            self.check_content()
        group, planes = query.shape[2], len(self.planes) // parts
        launch(
            soft_tables,
            (parts, batch * heads),
            query,
            self.planes,
            self.tables,
            self.sharpness,
            GAIN / (group * self.likeliest),
            GROUP=group,
            GROUP_PADDED=power_of_two(group),
            PARTS=parts,
            PLANES=planes,
            WIDTH=width,
            WIDTH_PADDED=power_of_two(width),
            OVERLAP=overlaps(query.device),
            num_warps=4,
            **options(query.device),
        )
        return self.choose()

    @property
    def sharpness(self) -> float:
        """2 / (tau sqrt(d)), the factor inside of the sigmoids."""
        return 2 / (self.tau * math.sqrt(self.planes.shape[1]))

    @property
    def likeliest(self) -> float:
        """The greatest probability that a bucket can have, which makes the greatest entry of a table."""
        planes = len(self.planes) // self.codes.shape[2]
        one = 1 / (1 + math.exp(-self.sharpness))
        return float(one**planes)


def encode(keys: torch.Tensor, planes: torch.Tensor, tables: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Buckets of keys [B, H, n, d] by planes [tables * P, d]: low [B, H, tables, n] and high [B, H, tables / 4, n].

    Plane i of a table is bit i of its buckets. Centre the keys first, where they are to be hashed centred.
    """
    batch, heads, n, _ = keys.shape
    count = len(planes) // tables
    buckets = torch.zeros(batch, heads, n, tables, dtype=torch.int32, device=keys.device)
    for plane in range(count):  # one at a time, since all bits of a long context would be many times its keys
        buckets |= (keys.float() @ planes[plane::count].float().T >= 0).int() << plane
    buckets = buckets.mT.contiguous()
    low = (buckets & 255).to(torch.uint8)
    if count <= LOW:
        return low, None
    shift = 2 * torch.arange(4, device=keys.device)[:, None]
    high = ((buckets >> LOW).view(batch, heads, tables // 4, 4, n) << shift).sum(dim=3)
    return low, high.to(torch.uint8)
