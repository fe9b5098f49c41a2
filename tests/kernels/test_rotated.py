"""Attention over codes of rotated vectors against the twin on what they unpack to, and the codebook's known errors."""

from __future__ import annotations

import pytest
import torch
from tests.kernels.cases import DEVICE, TOLERANCE, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive
from vevolve.kernels.cache import Cache
from vevolve.kernels.codecs.rotated import Rotated, codebook, rotation


def _case(
    lengths: tuple[int, ...], heads: int, group: int, width: int, bits: int, dtype: torch.dtype
) -> tuple[torch.Tensor, Rotated, torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    shape = (len(lengths), heads, max(lengths), width)
    keys, values = (torch.randn(shape, generator=rng).to(DEVICE) for _ in range(2))
    query = torch.randn(len(lengths), heads, group, width, generator=rng).to(DEVICE, dtype)
    held = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    spin, levels = rotation(width, rng).to(DEVICE), codebook(bits, width).to(DEVICE)
    return query, Rotated.of(2 * keys + 0.5, values - 2, spin, levels), held


@pytest.mark.parametrize(
    ("lengths", "heads", "group", "width", "bits", "dtype"),
    [
        pytest.param((300,), 1, 4, 64, 4, torch.bfloat16, id="4-bits"),
        pytest.param((257, 1), 1, 3, 96, 4, torch.float32, id="4-bits-ragged-G3-d96"),
        pytest.param((256,), 1, 1, 128, 2, torch.float16, id="2-bits-G1"),
        pytest.param((130,), 2, 5, 64, 8, torch.float32, id="8-bits-G5"),
    ],
)
def test_attention_over_codes_is_attention_over_what_they_unpack_to(
    lengths: tuple[int, ...], heads: int, group: int, width: int, bits: int, dtype: torch.dtype
) -> None:
    query, rotated, held = _case(lengths, heads, group, width, bits, dtype)
    out, lse = rotated.attend(query, held, checked=True)
    keys, values = rotated.unpack()
    cache = Cache(keys.transpose(1, 2).contiguous(), values.transpose(1, 2).contiguous(), held)
    truth, true_lse = naive.attend(query, cache)
    assert relative_error(out, truth) < TOLERANCE[dtype]
    assert torch.allclose(lse.double(), true_lse, atol=5 * TOLERANCE[dtype])


@pytest.mark.parametrize(("bits", "expected"), [(2, 0.1175), (4, 0.0095)])
def test_the_squared_error_is_that_of_the_best_quantiser_of_a_normal_coordinate(bits: int, expected: float) -> None:
    rng = torch.Generator().manual_seed(1)
    keys = 3 * torch.randn(1, 1, 1024, 128, generator=rng) + 1
    rotated = Rotated.of(keys, keys, rotation(128, rng), codebook(bits, 128))
    found = rotated.unpack()[0][:, :, :1024]
    error = float((found - keys).square().sum() / keys.square().sum())
    assert error == pytest.approx(expected, rel=0.03)
    assert rotated.bits_per_element == bits + 16 / 128


def test_one_bit_of_128_coordinates_has_the_level_of_the_exact_density() -> None:
    assert codebook(1, 128).tolist() == pytest.approx([-0.07066, 0.07066], abs=2e-5)


def test_bad_input_is_one_clear_error() -> None:
    query, rotated, held = _case((256,), 1, 4, 64, 4, torch.float32)
    keys = torch.zeros(1, 1, 100, 64, device=DEVICE)
    with pytest.raises(BadInput, match="4, 16 or 256 levels, got 8"):
        Rotated.of(keys, keys, rotated.spin, rotated.levels[:8].contiguous())
    with pytest.raises(BadInput, match=r"R R\^T is off by 3"):
        Rotated.of(keys, keys, 2 * rotated.spin, rotated.levels)
    with pytest.raises(BadInput, match="ascending"):
        Rotated.of(keys, keys, rotated.spin, rotated.levels.flip(0))
    with pytest.raises(BadInput, match="d in"):
        Rotated.of(keys[..., :32], keys[..., :32], rotated.spin, rotated.levels)
    with pytest.raises(BadInput, match="spin of type float32, got float16"):
        Rotated.of(keys, keys, rotated.spin.half(), rotated.levels)
    with pytest.raises(BadInput, match=r"lengths of 1 to 256, got \[257\]"):
        rotated.attend(query, held + 1, checked=True)
    with pytest.raises(BadInput, match="query to be contiguous"):
        rotated.attend(query.mT.contiguous().mT, held)
