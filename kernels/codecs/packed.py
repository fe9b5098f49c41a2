"""A cache of 2, 4 or 8 bits, as KIVI has it (Liu et al. 2024, arXiv:2402.02750), and attention that reads it.

Keys are quantised for each channel over a tile of 128 tokens, values for each token over its d channels, both between
their least and greatest: code = round((x - zero) / step), step = (greatest - least) / (2 ** bits - 1). Tokens beyond
the last whole tile stay as they are elsewhere, KIVI's residual; what is computed here is merged with theirs by `lse`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton.language as tl  # type: ignore[import-untyped]

from vevolve.errors import BadInput
from vevolve.kernels.attend.attend import Workspace, merged_at_once, results
from vevolve.kernels.attend.merge_kernel import INTERPRETED
from vevolve.kernels.cache import DTYPES, WIDTHS, one_device, whole, whole_query
from vevolve.kernels.codecs.kernel import attend as kernel
from vevolve.kernels.launch import cores, launch, options, overlaps, power_of_two

TILE = 128
WIDTHS_OF_CODES = (2, 4, 8)
KINDS = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
FORMATS = {torch.bfloat16: (7, 127), torch.float16: (10, 15), torch.float32: (0, 0)}
"""Bits of the mantissa, in which codes are set, and the bias of the exponent; 0 where codes are converted instead."""
CHUNK = 16
"""Words of a tile that are taken at a time."""
FILL = {2: 8, 4: 8, 8: 6}
"""Programs for each core of the GPU, by bits: as many as its registers and shared memory hold."""


@dataclass(frozen=True)
class Packed:
    """Keys and values of one layer as codes.

    Attributes:
        bits: of a code.
        key_codes: int16 [B, H, tiles, 128 * bits / 16, d]; bits `bits * j` of word t are token t + j * words.
        key_scales: float16 [B, H, tiles, 2, d], step and zero.
        value_codes: like key_codes.
        value_scales: float16 [B, H, tiles, 2, 128], step and zero.
    """

    bits: int
    key_codes: torch.Tensor
    key_scales: torch.Tensor
    value_codes: torch.Tensor
    value_scales: torch.Tensor

    @property
    def bits_per_element(self) -> float:
        """Of keys and values, scales included."""
        tensors = (self.key_codes, self.key_scales, self.value_codes, self.value_scales)
        elements = 2 * self.key_codes[..., 0, :].numel() * TILE
        return 8 * sum(tensor.nbytes for tensor in tensors) / elements

    @staticmethod
    def of(keys: torch.Tensor, values: torch.Tensor, bits: int) -> Packed:
        """Quantise keys and values [B, H, n, d], n a multiple of 128. Waits for the device.

        Raises:
            BadInput: shapes, types, devices, another number of bits, or numbers that float16, in which scales are
                kept, does not hold.
        """
        if bits not in WIDTHS_OF_CODES:
            raise BadInput(f"Expected codes of {WIDTHS_OF_CODES} bits, got {bits}.")
        fits = keys.dim() == 4 and keys.shape == values.shape and keys.shape[3] in WIDTHS
        if not fits or not keys.shape[2] or keys.shape[2] % TILE:
            words = f"{list(keys.shape)} and {list(values.shape)}"
            raise BadInput(f"Expected keys and values [B, H, a multiple of {TILE}, d in {WIDTHS}], got {words}.")
        of_one_type(keys, values)
        key_codes, key_scales = _quantise(_tiled(keys), bits, dim=3)
        value_codes, value_scales = _quantise(_tiled(values), bits, dim=4)
        for name, scales in (("keys", key_scales), ("values", value_scales)):
            if not bool(scales.isfinite().all()):
                raise BadInput(f"Expected {name} that are finite and within the reach of float16, got others.")
        return Packed(bits, key_codes, key_scales, value_codes, value_scales.transpose(3, 4).contiguous())

    def check(self) -> tuple[int, int, int, int]:
        """B, H, tiles and d, where codes and scales fit each other; costs no work on the device.

        Raises:
            BadInput: shapes, types, strides or alignment of what did not come from `of`.
        """
        if self.bits not in WIDTHS_OF_CODES or self.key_codes.dim() != 5:
            words = f"{list(self.key_codes.shape)} of {self.bits}"
            raise BadInput(f"Expected codes [B, H, tiles, words, d] of {WIDTHS_OF_CODES} bits, got {words}.")
        batch, heads, tiles, _, width = self.key_codes.shape
        shape = batch, heads, tiles, TILE * self.bits // 16, width
        whole("key_codes", self.key_codes, torch.int16, shape)
        whole("value_codes", self.value_codes, torch.int16, shape)
        whole("key_scales", self.key_scales, torch.float16, (batch, heads, tiles, 2, width))
        whole("value_scales", self.value_scales, torch.float16, (batch, heads, tiles, 2, TILE))
        one_device(self.key_codes, self.value_codes, self.key_scales, self.value_scales)
        return batch, heads, tiles, width

    def unpack(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values as they are read back, float32 [B, H, n, d]."""
        found = [from_words(codes, self.bits).float() for codes in (self.key_codes, self.value_codes)]
        key_step, key_zero = self.key_scales.float().unbind(3)
        value_step, value_zero = self.value_scales.float().unbind(3)
        keys = found[0] * key_step[:, :, :, None] + key_zero[:, :, :, None]
        values = found[1] * value_step[..., None] + value_zero[..., None]
        return keys.flatten(2, 3), values.flatten(2, 3)

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
        stages: int = 3,
        warps: int | None = None,
        workspace: Workspace | None = None,
        out: tuple[torch.Tensor, torch.Tensor] | None = None,
        checked: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend from one query per head to all packed tokens.

        Args:
            query: [B, H, G, d], contiguous.
            lengths: int32 [B], packed tokens of each sequence, multiples of 128.
            scale: of the scores; d ** -0.5 by default.
            splits: programs that share a head's tokens.
            stages: of the pipeline that fetches tiles ahead.
            warps: of 32 threads; 1 by default, 4 in float32, which has no tensor cores.
            workspace: to reuse, from `workspace`.
            out: where to write the results.
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
        if checked and bool(((lengths % TILE != 0) | (lengths < TILE) | (lengths > tiles * TILE)).any()):
            raise BadInput(f"Expected lengths of {TILE} to {tiles * TILE} in steps of {TILE}, got {lengths.tolist()}.")
        group = query.shape[2]
        splits = splits or splits_of(query, self.key_codes, FILL[self.bits])
        workspace = Workspace.enough(workspace, batch * heads, group, splits, query)
        result, lse = results(query, out)
        mantissa, bias = FORMATS[query.dtype]
        warps = warps or (1 if mantissa else 4)
        widened = INTERPRETED and query.dtype == torch.bfloat16
        padded = power_of_two(width)
        launch(
            kernel,
            (splits, batch * heads),
            query,
            self.key_codes,
            self.key_scales,
            self.value_codes,
            self.value_scales,
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
            FIELD=4 if 0 < mantissa < self.bits else self.bits,
            KIND=KINDS[query.dtype],
            DOT=KINDS[torch.float32 if widened else query.dtype],
            MANTISSA=mantissa,
            BIAS=bias,
            PAIRED=not INTERPRETED,
            PRECISION="ieee" if mantissa == 0 else "tf32",
            SPLITS_PADDED=power_of_two(splits),
            WIDTH_PADDED=padded,
            ROWS_PADDED=max(8, power_of_two(group)),
            ROWS_MERGED=power_of_two(group),
            MERGED=min(merged_at_once(power_of_two(group) * padded, warps), power_of_two(splits)),
            STAGES=stages,
            OVERLAP=overlaps(query.device),
            num_warps=warps,
            **options(query.device),
        )
        return result, lse


def of_one_type(keys: torch.Tensor, values: torch.Tensor) -> None:
    """Raise BadInput unless keys and values are of one type that can be cached, and on one device."""
    if keys.dtype not in DTYPES or values.dtype != keys.dtype:
        raise BadInput(
            "Expected keys and values of one type out of bfloat16, float16 and float32, got "
            f"{keys.dtype} and {values.dtype}; convert them first."
        )
    one_device(keys, values)


def splits_of(query: torch.Tensor, codes: torch.Tensor, fill: int) -> int:
    """Programs that share a head's tiles, of codes [B, H, tiles, ...]: in all `fill` for each core of the GPU."""
    tiles, units = codes.shape[2], query.shape[0] * query.shape[1]
    if not cores(query.device):
        return min(2, tiles)
    return max(1, min(64, fill * cores(query.device) // units, tiles // 2))


def to_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes int32 [B, H, tiles, 128, d] as words int16 [B, H, tiles, 128 * bits / 16, d], as of `Packed`."""
    parts = codes.reshape(*codes.shape[:3], 16 // bits, -1, codes.shape[4])
    places = torch.arange(16 // bits, device=codes.device)[:, None, None] * bits
    words = (parts << places).sum(dim=3)
    # The highest bit is the sign of an int16.
    return torch.where(words >= 1 << 15, words - (1 << 16), words).to(torch.int16)


def from_words(words: torch.Tensor, bits: int) -> torch.Tensor:
    """The codes int32 [B, H, tiles, 128, d] of words."""
    places = torch.arange(16 // bits, device=words.device)[:, None, None] * bits
    return ((words.int()[..., None, :, :] >> places) & ((1 << bits) - 1)).flatten(3, 4)


def _tiled(tensor: torch.Tensor) -> torch.Tensor:
    """[B, H, n, d] as [B, H, tiles, 128, d]."""
    return tensor.reshape(*tensor.shape[:2], -1, TILE, tensor.shape[3])


def _quantise(tiled: torch.Tensor, bits: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales of [B, H, tiles, 128, d], ranged over one dimension; scales with 2 in the place of that."""
    tiled = tiled.float()
    most = (1 << bits) - 1
    low = tiled.amin(dim=dim, keepdim=True)
    step = ((tiled.amax(dim=dim, keepdim=True) - low) / most).half().clamp(min=2.0**-14)
    zero = low.half()
    codes = ((tiled - zero.float()) / step.float()).round().clamp(0, most).int()
    return to_words(codes, bits), torch.cat([step, zero], dim=dim)
