"""Attention over packed codes against the twin on what they unpack to: bits, types, widths, groups, ragged lengths."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.kernels.cases import DEVICE, ON_GPU, TOLERANCE, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive
from vevolve.kernels.cache import Cache
from vevolve.kernels.codecs.fields import centre, centring, lift, middle, setting, shifting, slot, surplus
from vevolve.kernels.codecs.packed import FORMATS, TILE, Packed


def _case(
    lengths: tuple[int, ...], heads: int, group: int, width: int, bits: int, dtype: torch.dtype
) -> tuple[torch.Tensor, Packed, torch.Tensor]:
    rng = torch.Generator().manual_seed(5)
    shape = (len(lengths), heads, max(lengths), width)
    keys, values = (torch.randn(shape, generator=rng).to(DEVICE) for _ in range(2))
    query = torch.randn(len(lengths), heads, group, width, generator=rng).to(DEVICE, dtype)
    held = torch.tensor(lengths, dtype=torch.int32, device=DEVICE)
    return query, Packed.of(3 * keys + 1, values - 2, bits), held


@pytest.mark.parametrize(
    ("lengths", "heads", "group", "width", "bits", "dtype"),
    [
        pytest.param((384,), 1, 4, 64, 4, torch.bfloat16, id="4-bits"),
        pytest.param((384, 128), 2, 3, 96, 4, torch.float32, id="4-bits-ragged-G3-d96"),
        pytest.param((256,), 1, 1, 128, 2, torch.float16, id="2-bits-G1"),
        pytest.param((256,), 2, 5, 64, 8, torch.bfloat16, id="8-bits-G5"),
        pytest.param((128,), 1, 8, 256, 8, torch.float32, id="8-bits-one-tile-d256"),
        pytest.param((128,), 1, 9, 96, 2, torch.bfloat16, id="2-bits-G9-d96"),
        pytest.param((256,), 1, 2, 64, 8, torch.float16, id="8-bits-G2"),
        # What is attended to averages out, and what tensor cores cut off adds up.
        pytest.param((131072, 65536), 2, 4, 128, 4, torch.bfloat16, id="4-bits-long", marks=ON_GPU),
        pytest.param((131072,), 1, 4, 128, 2, torch.bfloat16, id="2-bits-long", marks=ON_GPU),
        pytest.param((131072,), 1, 4, 128, 8, torch.float16, id="8-bits-long", marks=ON_GPU),
    ],
)
def test_attention_over_codes_is_attention_over_what_they_unpack_to(
    lengths: tuple[int, ...], heads: int, group: int, width: int, bits: int, dtype: torch.dtype
) -> None:
    query, packed, held = _case(lengths, heads, group, width, bits, dtype)
    out, lse = packed.attend(query, held, checked=True)
    keys, values = packed.unpack()
    cache = Cache(keys.transpose(1, 2).contiguous(), values.transpose(1, 2).contiguous(), held)
    truth, true_lse = naive.attend(query, cache)
    assert relative_error(out, truth) < TOLERANCE[dtype]
    assert torch.allclose(lse.double(), true_lse, atol=5 * TOLERANCE[dtype])


def _run(instruction: str, register: int) -> int:
    """What an instruction leaves in its destination: a shift to the right, or any function of three bits."""
    name, words = instruction.rstrip(";").split(" ", 1)
    assert words.startswith("$0, $1, ")
    given = [int(word, 0) for word in words.split(", ")[2:]]
    if name == "shr.b32":
        return register >> given[0]
    assert name == "lop3.b32"
    second, third, table = given
    places = [register >> bit & 1 | (second >> bit & 1) << 1 | (third >> bit & 1) << 2 for bit in range(32)]
    # PTX counts the first operand's bit as 4 and the third's as 1.
    turned = [(place & 1) << 2 | place & 2 | place >> 2 for place in places]
    return sum((table >> place & 1) << bit for bit, place in enumerate(turned))


def _taken_off(instruction: str, dtype: torch.dtype) -> float:
    """The number that an instruction adds to both halves of a register."""
    assert f"add.rn.{'bf16' if dtype == torch.bfloat16 else 'f16'}x2 $0, $1, less;" in instruction
    word = int(instruction.split("less, ")[1].split(";")[0], 0)
    assert word >> 16 == word & 0xFFFF
    return float(torch.tensor([word & 0xFFFF]).to(torch.int16).view(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_instructions_for_two_codes_at_a_time_make_floats_of_both(bits: int, dtype: torch.dtype) -> None:
    # They do not run under the interpreter, which does the same with plain operations.
    mantissa, bias = FORMATS[dtype]
    field = 4 if mantissa < bits else bits
    pairs = torch.randint(0, 1 << 32, (20,), generator=torch.Generator().manual_seed(3)).tolist()
    for part in range(16 // bits):
        found, centred = torch.zeros(len(pairs), 2), torch.zeros(len(pairs), 2)
        for digit in range(bits // field):
            place = bits * part + field * digit
            at = slot(place, mantissa, field)
            moved = [_run(shifting(place - at), pair) if place > at else pair for pair in pairs]
            made = torch.tensor([_run(setting(at, mantissa, bias, field), pair) for pair in moved])
            halves = torch.stack([made & 0xFFFF, made >> 16], dim=1)
            read = halves.to(torch.int16).view(dtype)
            found += read.float() * 2 ** (field * digit)
            less = torch.tensor(_taken_off(centring(at, mantissa, bias, field), dtype), dtype=dtype)
            assert float(less) == -surplus(at, mantissa, field)
            centred += (read + less).float() * 2 ** (field * digit)
        codes = torch.tensor(
            [[pair >> shift & (1 << bits) - 1 for shift in (bits * part, 16 + bits * part)] for pair in pairs]
        )
        assert torch.equal(found - lift(part, bits, mantissa, field) + middle(bits, mantissa), codes.float())
        assert torch.equal(centred + centre(bits, mantissa, field), codes.float())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_what_is_unpacked_lies_within_half_a_step(bits: int) -> None:
    keys = torch.randn(1, 2, 256, 64, generator=torch.Generator().manual_seed(6))
    packed = Packed.of(keys, keys, bits)
    found_keys, found_values = packed.unpack()
    tiles = keys.unflatten(2, (-1, TILE))
    by_channel = (tiles.amax(3, keepdim=True) - tiles.amin(3, keepdim=True)) / ((1 << bits) - 1)
    by_token = (tiles.amax(4, keepdim=True) - tiles.amin(4, keepdim=True)) / ((1 << bits) - 1)
    assert ((found_keys - keys).unflatten(2, (-1, TILE)).abs() <= 0.5 * by_channel + 0.005).all()
    assert ((found_values - keys).unflatten(2, (-1, TILE)).abs() <= 0.5 * by_token + 0.005).all()


def test_bits_per_element_count_the_scales() -> None:
    keys = torch.randn(1, 1, 256, 128)
    assert Packed.of(keys, keys, 4).bits_per_element == 4 + 32 / 128


def test_bad_input_is_one_clear_error() -> None:
    query, packed, held = _case((256,), 1, 4, 64, 4, torch.float32)
    with pytest.raises(BadInput, match="multiple of 128"):
        Packed.of(torch.zeros(1, 1, 100, 64), torch.zeros(1, 1, 100, 64), 4)
    with pytest.raises(BadInput, match=r"multiple of 128, d in .* got \[1, 1, 0, 64\]"):
        Packed.of(torch.zeros(1, 1, 0, 64), torch.zeros(1, 1, 0, 64), 4)
    with pytest.raises(BadInput, match=r"codes of \(2, 4, 8\) bits, got 3"):
        Packed.of(torch.zeros(1, 1, 128, 64), torch.zeros(1, 1, 128, 64), 3)
    with pytest.raises(BadInput, match="in steps of 128"):
        packed.attend(query, held + 1, checked=True)
    with pytest.raises(BadInput, match="query to be contiguous"):
        packed.attend(query.mT.contiguous().mT, held)
    with pytest.raises(BadInput, match="at least one query head"):
        packed.attend(query[:, :, :0], held)
    with pytest.raises(BadInput, match="at least one split, got -1"):
        packed.attend(query, held, splits=-1)
    with pytest.raises(BadInput, match="workspace for 1 units in 2 splits"):
        packed.attend(query, held, splits=2, workspace=packed.workspace(query[:, :, :1].contiguous()))


def test_caches_of_mixed_types_or_beyond_float16_are_one_clear_error() -> None:
    keys = torch.ones(1, 1, 128, 64, device=DEVICE)
    for other in (keys.half(), keys.int()):
        with pytest.raises(BadInput, match="keys and values of one type"):
            Packed.of(keys, other, 4)
    with pytest.raises(BadInput, match="keys and values of one type"):
        Packed.of(keys.int(), keys.int(), 4)
    for wrong in (1e6, torch.nan, torch.inf):
        broken = keys.clone()
        broken[0, 0, 5, 3] = wrong
        with pytest.raises(BadInput, match="values that are finite and within the reach of float16"):
            Packed.of(keys, broken, 4)


def test_codes_and_scales_that_do_not_fit_each_other_are_one_clear_error() -> None:
    query, packed, held = _case((256,), 1, 4, 64, 4, torch.float32)
    codes = packed.key_codes
    shifted = torch.empty(codes.numel() + 1, dtype=codes.dtype, device=DEVICE)[1:].view(codes.shape)
    for words, changed in (
        ("key_codes to be contiguous", dataclasses.replace(packed, key_codes=codes.mT.contiguous().mT)),
        ("key_codes to start at a multiple of 16", dataclasses.replace(packed, key_codes=shifted)),
        ("key_codes of shape", dataclasses.replace(packed, bits=2)),
        ("of .2, 4, 8. bits", dataclasses.replace(packed, bits=3)),
        ("value_scales of type float16", dataclasses.replace(packed, value_scales=packed.value_scales.float())),
    ):
        with pytest.raises(BadInput, match=words):
            changed.attend(query, held)
