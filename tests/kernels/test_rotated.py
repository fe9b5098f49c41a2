"""Attention over codes of rotated vectors against the twin on what they unpack to, and the codebook's known errors."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.kernels.cases import DEVICE, ON_GPU, TOLERANCE, relative_error

from vevolve.errors import BadInput
from vevolve.kernels.attend import naive
from vevolve.kernels.cache import Cache
from vevolve.kernels.codecs.levels import Grid
from vevolve.kernels.codecs.rotated import Rotated, codebook, rotation
from vevolve.kernels.codecs.rotated_kernel import looking_up, owning, taking


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
        pytest.param((1, 200), 1, 2, 64, 8, torch.bfloat16, id="8-bits-ragged-G2"),
        pytest.param((65, 129), 1, 9, 96, 2, torch.bfloat16, id="2-bits-ragged-G9-d96"),
        pytest.param((400,), 1, 4, 256, 4, torch.float16, id="4-bits-d256"),
        pytest.param((65536, 40001), 2, 4, 128, 4, torch.bfloat16, id="4-bits-long", marks=ON_GPU),
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


def _run(text: str, registers: dict[str, int]) -> int:
    """What instructions leave in $0, of those that are used here."""
    held = dict(registers)
    for line in text.strip("{} ").split(";"):
        name, _, words = line.strip().partition(" ")
        if name in ("", ".reg"):
            continue
        target, *named = words.split(", ")
        given = [held[word] if word in held else int(word, 0) for word in named]
        if name == "prmt.b32":
            first, second, selectors = given
            eight = first | second << 32
            found = 0
            for place in range(4):
                selector = selectors >> 4 * place & 15
                byte = eight >> 8 * (selector & 7) & 0xFF
                found |= (byte if selector < 8 else 0xFF * (byte >> 7)) << 8 * place
        elif name == "mad.lo.u32":
            found = given[0] * given[1] + given[2]
        else:
            one, two = (*given, 0)[:2]
            known = {"add.u32": one + two, "and.b32": one & two, "or.b32": one | two, "shr.u32": one >> two}
            found = (known | {"mov.u32": one})[name]
        held[target] = found & 0xFFFFFFFF
    return held["$0"]


@pytest.mark.parametrize("bits", [2, 4])
def test_the_instructions_for_two_words_at_a_time_look_both_up(bits: int) -> None:
    # They do not run under the interpreter, which does the same with plain operations.
    rng = torch.Generator().manual_seed(3)
    keys = torch.randn(1, 1, 1, 64, generator=rng)
    levels = (torch.randn(1 << bits, generator=rng) / 8).sort().values
    rotated = Rotated.of(keys, keys, rotation(64, rng), levels)
    assert rotated.grid is not None
    *words, ones = [word & 0xFFFFFFFF for word in rotated.table.tolist()]
    for pair in torch.randint(0, 1 << 32, (40,), generator=rng).tolist():
        for part in range(16 // bits):
            given = {f"${2 * place}": words[bits * part % 4 // bits * 4 + place - 1] for place in range(1, 5)}
            given |= {"$1": pair, "$10": ones}
            found = _run(taking(part, bits), {"$1": _run(looking_up(part, bits), given)})
            codes = [pair >> shift & (1 << bits) - 1 for shift in (bits * part, 16 + bits * part)]
            assert [found & 0xFFFF, found >> 16] == [rotated.grid.table[code] for code in codes]


@pytest.mark.parametrize("lane", [0, 7, 31])
def test_a_number_is_the_same_after_it_is_made_a_thread_s_own(lane: int) -> None:
    masks = {"%lanemask_eq": 1 << lane, "%lanemask_lt": (1 << lane) - 1}
    assert all(_run(owning(), masks | {"$1": number}) == number for number in (0, 0x7C6D635B, 0xFFFFFFFF))


@pytest.mark.parametrize(("bits", "grown"), [(2, 1e-4), (4, 0.003)])
def test_a_grid_of_bytes_hardly_adds_to_the_squared_error(bits: int, grown: float) -> None:
    t = torch.randn(400_000, generator=torch.Generator().manual_seed(4)) / 128**0.5
    levels = codebook(bits, 128)
    errors = [
        float((t - found[torch.bucketize(t, (found[1:] + found[:-1]) / 2)]).square().mean())
        for found in (levels, Grid.of(levels, 128).levels())
    ]
    assert abs(errors[1] / errors[0] - 1) < grown


@pytest.mark.parametrize(
    "levels", [[0.0] * 4, [1.0, 1.1, 1.2, 1.3], [-3.0, -2.0, -1.0, -0.5], [5.0, 5.001, 5.002, 5.003]]
)
def test_any_ascending_levels_have_a_grid_near_them(levels: list[float]) -> None:
    given = torch.tensor(levels)
    grid = Grid.of(given, 64)
    assert max(grid.table) < 128
    assert torch.equal(grid.levels(), grid.levels().sort().values)
    assert ((grid.levels() - given).abs() <= 0.5001 * grid.step).all()
    assert abs(grid.zero) <= 1024


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
    with pytest.raises(BadInput, match="finite levels"):
        Rotated.of(keys, keys, rotated.spin, torch.cat([rotated.levels[:15], torch.tensor([torch.inf]).to(DEVICE)]))
    with pytest.raises(BadInput, match="d in"):
        Rotated.of(keys[..., :32], keys[..., :32], rotated.spin, rotated.levels)
    with pytest.raises(BadInput, match="spin of type float32, got float16"):
        Rotated.of(keys, keys, rotated.spin.half(), rotated.levels)
    with pytest.raises(BadInput, match=r"lengths of 1 to 256 tokens, got 257 to 257"):
        rotated.attend(query, held + 1, checked=True)
    with pytest.raises(BadInput, match="query to be contiguous"):
        rotated.attend(query.mT.contiguous().mT, held)


def test_vectors_that_the_codes_cannot_hold_are_one_clear_error() -> None:
    _, rotated, _ = _case((256,), 1, 4, 64, 4, torch.float32)
    keys = torch.ones(1, 1, 100, 64, device=DEVICE)
    with pytest.raises(BadInput, match="keys and values of one type"):
        Rotated.of(keys, keys.half(), rotated.spin, rotated.levels)
    for wrong in (1e6, torch.nan, torch.inf):
        broken = keys.clone()
        broken[0, 0, 5, 3] = wrong
        with pytest.raises(BadInput, match="norms up to 65504"):
            Rotated.of(keys, broken, rotated.spin, rotated.levels)


def test_codes_and_norms_that_do_not_fit_each_other_are_one_clear_error() -> None:
    query, rotated, held = _case((256,), 1, 4, 64, 4, torch.float32)
    codes = rotated.value_codes
    for words, changed in (
        ("value_codes to be contiguous", dataclasses.replace(rotated, value_codes=codes.mT.contiguous().mT)),
        ("key_codes of shape", dataclasses.replace(rotated, bits=8)),
        ("key_norms of type float16", dataclasses.replace(rotated, key_norms=rotated.key_norms.float())),
    ):
        with pytest.raises(BadInput, match=words):
            changed.attend(query, held)
