"""A cache of rotated codes, as TurboQuant has it (Zandieh et al. 2025, arXiv:2504.19874), and attention that reads it.

    y = R x / |x|,  code = the level nearest to each coordinate of y,  read back as |x| R^T levels[code],

the mode of least squared error; R is orthogonal, one for all heads, levels one codebook for all coordinates. Keys and
values are never rotated back: q . R^T y = R q . y, so the query is rotated, once, and a sum of values is, once, at the
end. 2, 4 or 8 bits a coordinate and 16 for each norm. (The product mode, with signs of a second projection, is not
here.)

Levels of 2 and 4 bits are rounded to a grid of 7 bits, so that they can be looked up by bytes: see `Grid`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton.language as tl  # type: ignore[import-untyped]

from vevolve.errors import BadInput
from vevolve.kernels.attend.attend import Workspace, merged_at_once
from vevolve.kernels.attend.merge_kernel import INTERPRETED
from vevolve.kernels.cache import DTYPES, WIDTHS, one_device, whole, whole_query, within
from vevolve.kernels.codecs.levels import Grid
from vevolve.kernels.codecs.levels import codebook as codebook
from vevolve.kernels.codecs.packed import CHUNK, TILE, WIDTHS_OF_CODES, from_words, of_one_type, splits_of, to_words
from vevolve.kernels.codecs.rotated_kernel import attend as kernel
from vevolve.kernels.codecs.rotated_kernel import turn
from vevolve.kernels.launch import launch, options, overlaps, power_of_two

FILL = {2: 8, 4: 8, 8: 4}
"""Programs for each core of the GPU, by bits: as many as its registers and shared memory hold."""
TURNED = 16, 32
"""Rows and coordinates that a program turns."""
ORTHOGONAL = 1e-3
"""How far R R^T may be from the identity."""
LONGEST = 65504
"""Norm of a vector, the greatest that float16 holds."""
TINY = 2.0**-24
"""What 1 is worth when its bits are read as a float16."""


@dataclass(frozen=True)
class Rotated:
    """Keys and values of one layer as codes of rotated vectors.

    Attributes:
        bits: of a code.
        spin: R, float32 [d, d].
        levels: float32 [2 ** bits], as they are read back.
        grid: that they lie on, of 2 and 4 bits.
        fine: float16 [2 ** bits], the levels once more.
        table: int32, the words of that, and ones.
        key_codes: int16 [B, H, tiles, 128 * bits / 16, d]; bits `bits * j` of word t are token t + j * words.
        key_norms: float16 [B, H, tiles, 128].
        value_codes: like key_codes.
        value_norms: like key_norms.
    """

    bits: int
    spin: torch.Tensor
    levels: torch.Tensor
    grid: Grid | None
    fine: torch.Tensor
    table: torch.Tensor
    key_codes: torch.Tensor
    key_norms: torch.Tensor
    value_codes: torch.Tensor
    value_norms: torch.Tensor

    @property
    def bits_per_element(self) -> float:
        """Of keys and values, norms included, rotation and levels not."""
        tensors = (self.key_codes, self.key_norms, self.value_codes, self.value_norms)
        return 8 * sum(tensor.nbytes for tensor in tensors) / (2 * self.key_norms.numel() * self.spin.shape[0])

    @staticmethod
    def of(keys: torch.Tensor, values: torch.Tensor, spin: torch.Tensor, levels: torch.Tensor) -> Rotated:
        """Quantise keys and values [B, H, n, d]; what is missing of a last tile of 128 tokens is filled up.

        Args:
            keys: [B, H, n, d].
            values: [B, H, n, d].
            spin: float32 [d, d], orthogonal, such as from `rotation`.
            levels: float32 [4], [16] or [256], ascending, such as from `codebook`; 4 and 16 are rounded to a grid.

        Raises:
            BadInput: shapes, types, levels of another number, not finite or in disorder, a matrix that is not
                orthogonal, or vectors whose norm float16 does not hold.
        """
        bits = len(levels).bit_length() - 1
        if bits not in WIDTHS_OF_CODES or len(levels) != 1 << bits:
            raise BadInput(f"Expected 4, 16 or 256 levels, got {len(levels)}.")
        if keys.dim() != 4 or keys.shape != values.shape or not keys.shape[2] or keys.shape[3] not in WIDTHS:
            words = f"{list(keys.shape)} and {list(values.shape)}"
            raise BadInput(f"Expected keys and values [B, H, 1 or more, d in {WIDTHS}], got {words}.")
        width = keys.shape[3]
        whole("spin", spin, torch.float32, (width, width))
        whole("levels", levels, torch.float32, (None,))
        of_one_type(keys, values)
        one_device(keys, spin, levels)
        if not bool(levels.isfinite().all() & (levels[1:] >= levels[:-1]).all()):
            raise BadInput("Expected finite levels in ascending order, got others; sort them first.")
        off = float((spin @ spin.T - torch.eye(width, device=spin.device)).abs().max())
        if not off < ORTHOGONAL:
            raise BadInput(f"Expected an orthogonal matrix to rotate by, got one whose R R^T is off by {off:.2g}.")
        grid = Grid.of(levels, width) if bits < 8 else None
        levels = grid.levels().to(levels) if grid else levels
        coded = (*_quantise(keys, spin, levels, bits), *_quantise(values, spin, levels, bits))
        table = grid.words(bits) if grid else []
        return Rotated(
            bits,
            spin,
            levels,
            grid,
            levels.half(),
            torch.tensor([*table, -1], dtype=torch.int32).to(spin.device),
            *coded,
        )

    def check(self) -> tuple[int, int, int, int]:
        """B, H, tiles and d, where codes and norms fit each other; costs no work on the device.

        Raises:
            BadInput: shapes, types, strides or alignment of what did not come from `of`.
        """
        if self.bits not in WIDTHS_OF_CODES or self.key_codes.dim() != 5:
            words = f"{list(self.key_codes.shape)} of {self.bits}"
            raise BadInput(f"Expected codes [B, H, tiles, words, d] of {WIDTHS_OF_CODES} bits, got {words}.")
        batch, heads, tiles, _, width = self.key_codes.shape
        for name, codes, norms in (
            ("key", self.key_codes, self.key_norms),
            ("value", self.value_codes, self.value_norms),
        ):
            whole(f"{name}_codes", codes, torch.int16, (batch, heads, tiles, TILE * self.bits // 16, width))
            whole(f"{name}_norms", norms, torch.float16, (batch, heads, tiles, TILE))
            one_device(self.spin, codes, norms)
        return batch, heads, tiles, width

    def unpack(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values as they are read back, float32 [B, H, tiles * 128, d]."""
        found: list[torch.Tensor] = []
        for codes, norms in ((self.key_codes, self.key_norms), (self.value_codes, self.value_norms)):
            turned = self.levels[from_words(codes, self.bits).long()] @ self.spin
            found.append((turned * norms.float()[..., None]).flatten(2, 3))
        return found[0], found[1]

    def workspace(self, query: torch.Tensor) -> Workspace:
        """To keep for calls with queries of this shape."""
        batch, heads, group, width = query.shape
        return Workspace.of(
            batch * heads, group, width, splits_of(query, self.key_codes, FILL[self.bits]), query.device
        )

    def attend(
        self,
        query: torch.Tensor,
        lengths: torch.Tensor,
        *,
        scale: float | None = None,
        splits: int | None = None,
        stages: int | None = None,
        warps: int | None = None,
        workspace: Workspace | None = None,
        checked: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend from one query per head to all tokens.

        Args:
            query: [B, H, G, d], contiguous.
            lengths: int32 [B], tokens of each sequence, 1 or more.
            scale: of the scores; d ** -0.5 by default.
            splits: programs that share a head's tokens.
            stages: of the pipeline that fetches tiles ahead; 2 by default, 1 in float32, which would fetch levels, too.
            warps: of 32 threads; 1 by default, 4 in float32, which has no tensor cores.
            workspace: to reuse, from `workspace`.
            checked: also look at the lengths, which waits for the device.

        Returns:
            out [B, H, G, d] of the query's type, and the natural logarithm of the denominator, float32 [B, H, G].

        Raises:
            BadInput: shapes, types or strides; with `checked` also lengths.
        """
        batch, heads, tiles, width = self.check()
        if query.dtype not in DTYPES:
            raise BadInput(f"Expected a query of bfloat16, float16 or float32, got {query.dtype}.")
        whole_query(query, query.dtype, (batch, heads, width), self.key_codes)
        whole("lengths", lengths, torch.int32, (batch,))
        one_device(query, lengths)
        if checked:
            within(lengths, tiles * TILE)
        group = query.shape[2]
        splits = splits or splits_of(query, self.key_codes, FILL[self.bits])
        workspace = Workspace.enough(workspace, batch * heads, group, splits, query)
        # Coordinates of unit vectors: float16 holds them more finely than bfloat16.
        exact = query.dtype == torch.float32
        turned = torch.empty_like(query, dtype=torch.float32 if exact else torch.float16)
        result, lse = torch.empty_like(query, dtype=torch.float32), torch.empty(query.shape[:3], device=query.device)
        warps = warps or (4 if exact else 1)
        padded, grid = power_of_two(width), None if exact else self.grid
        self._turn(query, turned, forth=True)
        launch(
            kernel,
            (splits, batch * heads),
            turned,
            self.key_codes,
            self.key_norms,
            self.value_codes,
            self.value_norms,
            self.levels if exact else self.fine,
            self.table,
            grid.zero * TINY if grid else 0.0,
            grid.step / TINY if grid else 1.0,
            lengths,
            workspace.partial,
            workspace.stats,
            workspace.arrivals,
            result,
            lse,
            width**-0.5 if scale is None else scale,
            tiles,
            splits,
            UNITS=heads,
            ROWS=group,
            WIDTH=width,
            BITS=self.bits,
            TILE=TILE,
            CHUNK=CHUNK,
            HALVINGS=(TILE // CHUNK).bit_length() - 1,
            KIND=tl.float32 if exact else tl.float16,
            GRID=grid is not None,
            PAIRED=not INTERPRETED,
            PRECISION="ieee" if exact else "tf32",
            SPLITS_PADDED=power_of_two(splits),
            WIDTH_PADDED=padded,
            ROWS_PADDED=max(8, power_of_two(group)),
            ROWS_MERGED=power_of_two(group),
            MERGED=min(merged_at_once(power_of_two(group) * padded, warps), power_of_two(splits)),
            STAGES=stages or (1 if exact else 2),
            OVERLAP=overlaps(query.device),
            num_warps=warps,
            **options(query.device),
        )
        out = torch.empty_like(query)
        self._turn(result, out, forth=False)
        return out, lse

    def _turn(self, vectors: torch.Tensor, out: torch.Tensor, forth: bool) -> None:
        """out = R x for vectors x [B, H, G, d], or R^T x."""
        width, (rows, columns) = self.spin.shape[0], TURNED
        count = vectors.numel() // width
        launch(
            turn,
            (-(-count // rows), -(-width // columns)),
            vectors,
            self.spin,
            out,
            count,
            *((1, width) if forth else (width, 1)),
            WIDTH=width,
            WIDTH_PADDED=power_of_two(width),
            ROWS=rows,
            COLUMNS=columns,
            PRECISION="tf32x3" if out.dtype in (torch.float16, torch.bfloat16) else "ieee",
            OVERLAP=overlaps(out.device),
            num_warps=4,
            **options(out.device),
        )


def rotation(width: int, rng: torch.Generator) -> torch.Tensor:
    """A uniformly random orthogonal matrix, float32 [width, width]."""
    q, r = torch.linalg.qr(torch.randn(width, width, generator=rng))
    turned: torch.Tensor = q * r.diagonal().sign()
    return turned.contiguous()


def _quantise(
    vectors: torch.Tensor, spin: torch.Tensor, levels: torch.Tensor, bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Words and norms of vectors [B, H, n, d], padded to whole tiles."""
    batch, heads, n, width = vectors.shape
    padded = torch.nn.functional.pad(vectors.float(), (0, 0, 0, -n % TILE))
    tiled = padded.reshape(batch, heads, -1, TILE, width)
    norms = torch.linalg.vector_norm(tiled, dim=-1)
    if not bool((norms <= LONGEST).all()):
        raise BadInput(f"Expected finite vectors of norms up to {LONGEST}, got one of {float(norms.max()):.3g}.")
    unit = (tiled / norms.clamp(min=1e-30)[..., None]) @ spin.T
    codes = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2).int()
    return to_words(codes, bits), norms.half()
