"""Each quantiser against a naive twin: loops, float64, no packing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch


def half(x):
    return float(np.float16(max(min(x, 65504), -65504)))


def rounded(numbers, bits):
    """Asymmetric rounding of one group, in plain Python."""
    low = half(min(numbers))
    step = half((max(numbers) - low) / (2**bits - 1))
    out = []
    for x in numbers:
        code = round((x - low) / step) if step else 0
        out.append(min(max(code, 0), 2**bits - 1) * step + low)
    return out


def close(found, expected, spread):
    """Equal but where a tie in rounding went the other way: there by one step, and seldom."""
    off = np.abs(found.double().numpy() - expected)
    assert (off > 1e-3).mean() < 0.002
    assert off.max() <= spread * 1.01


@pytest.mark.parametrize("bits", [2, 4])
def test_int4_rounds_each_token_of_each_head_to_its_own_range(lab, bits):
    seed = lab.load("int4")
    seed.SETTINGS = (bits,)
    keys, values = lab.draw(heads=2, n=23)
    for x, found in zip((keys, values), lab.through(seed, keys, values, 99.0), strict=True):
        expected = np.array([[rounded(token.tolist(), bits) for token in head] for head in x])
        close(found, expected, float((x.amax(-1) - x.amin(-1)).max()) / (2**bits - 1))


@pytest.mark.parametrize(
    ("n", "group", "recent"), [(96, 32, 0), (101, 32, 32), (77, 16, 8), (30, 32, 32), (150, 128, 16)]
)
def test_kivi_groups_keys_by_channel_and_values_by_token_and_keeps_the_newest(lab, n, group, recent):
    seed, bits = lab.load("kivi"), 2
    seed.SETTINGS = ((bits, group, recent),)
    keys, values = lab.draw(heads=2, n=n)
    found = lab.through(seed, keys, values, 99.0)
    old_keys = n - n % recent if recent else n
    old_values = max(n - recent, 0)
    expected = [x.half().double().numpy().copy() for x in (keys, values)]
    for head in range(2):
        for channel in range(64):
            for start in range(0, old_keys, group):
                place = slice(start, min(start + group, old_keys))
                expected[0][head, place, channel] = rounded(keys[head, place, channel].tolist(), bits)
        for token in range(old_values):
            for start in range(0, 64, min(group, 64)):
                place = slice(start, start + min(group, 64))
                expected[1][head, token, place] = rounded(values[head, token, place].tolist(), bits)
    for one, true in zip(found, expected, strict=True):
        close(one, true, 5.0)
    assert torch.equal(found[0][:, old_keys:], keys[:, old_keys:].half().float())
    assert torch.equal(found[1][:, old_values:], values[:, old_values:].half().float())


def turned_back(keys, base):
    """Keys before RoPE, channel pairs (i, i + d / 2), as complex numbers."""
    n, d = keys.shape[1:]
    pairs = keys[..., : d // 2].double().numpy() + 1j * keys[..., d // 2 :].double().numpy()
    angle = np.arange(n)[:, None] * base ** (-np.arange(d // 2) / (d // 2))
    turned = pairs * np.exp(-1j * angle)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def test_kvquant_keeps_the_first_token_and_outliers_and_rounds_the_rest_to_its_levels(lab):
    seed, bits, base = lab.load("kvquant"), 3, 1e4
    seed.SETTINGS = (bits,)
    keys, values = lab.draw(heads=3, n=401)
    code = lab.encode(seed, keys, values, 99.0, base)
    found = lab.decode(seed, code, keys, 99.0, base)
    for one, true in zip(found, (keys, values), strict=True):
        assert torch.equal(one[:, 0], true[:, 0].half().float())
    rows = {
        "k": (turned_back(keys, base)[:, 1:].transpose(0, 2, 1).reshape(192, 400), turned_back(found[0], base)),
        "v": (values[:, 1:].permute(1, 0, 2).reshape(400, 192).double().numpy(), found[1].double().numpy()),
    }
    for name, (exact, back) in rows.items():
        back = (
            back[:, 1:].transpose(0, 2, 1).reshape(192, 400)
            if name == "k"
            else back[:, 1:].transpose(1, 0, 2).reshape(400, 192)
        )
        levels = np.sort(code[name + "levels"].double().numpy())
        few = round(0.01 * exact.shape[1] / 2)
        for row, again in zip(exact, back, strict=True):
            order = np.argsort(row)
            tails = np.concatenate([order[:few], order[len(row) - few :]])
            np.testing.assert_allclose(again[tails], row[tails], rtol=1e-3, atol=2e-3)
            inner = np.setdiff1d(np.arange(len(row)), tails)
            low, high = row[inner].min(), row[inner].max()
            scaled = (row[inner] - (low + high) / 2) / ((high - low) / 2)
            nearest = levels[np.abs(scaled[:, None] - levels).argmin(axis=1)]
            expected = nearest * (high - low) / 2 + (low + high) / 2
            off = np.abs(again[inner] - expected)
            assert (off > 0.02).mean() < 0.03


def test_kvquant_finds_levels_of_least_weighted_error(lab):
    """Levels are the weighted means of their cells, and no random set of levels does better."""
    seed, draw = lab.load("kvquant"), np.random.default_rng(0)
    points = torch.linspace(-1, 1, 2049, dtype=torch.float64)
    weight = torch.from_numpy(np.exp(-8 * points.numpy() ** 2) * (1 + draw.random(2049)))
    levels = seed.lloyd(points, weight, 2, 200).numpy()

    def loss(levels):
        return float((weight.numpy() * ((points.numpy()[:, None] - levels) ** 2).min(axis=1)).sum())

    cells = np.abs(points.numpy()[:, None] - levels).argmin(axis=1)
    for place, level in enumerate(levels):
        inside = cells == place
        mean = (points.numpy() * weight.numpy())[inside].sum() / weight.numpy()[inside].sum()
        assert level == pytest.approx(mean, abs=2e-3)
    best = min(loss(levels + 0.05 * draw.standard_normal(4)) for _ in range(200))
    assert loss(levels) <= best


def test_kvquant_restores_mean_and_spread_at_two_bits(lab):
    seed = lab.load("kvquant")
    rows = torch.randn(64, 500, generator=torch.Generator().manual_seed(0)) + 1
    for bits, exact in ((2, True), (3, False)):
        back = seed.expand(seed.squeeze(rows, bits), bits, 64, 500)
        ratio = float(back.std() / rows.std())
        assert (abs(ratio - 1) < 0.01) is exact


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_turboquant_rounds_rotated_unit_vectors_to_the_nearest_level(lab, bits):
    seed = lab.load("turboquant_mse")
    seed.SETTINGS = (bits,)
    keys, values = lab.draw(heads=2, n=31)
    found = lab.through(seed, keys, values, 99.0, draw=5)
    spin, levels = seed.rotation(64, lab.shared(5)).double().numpy(), seed.codebook(bits, 64).double().numpy()
    np.testing.assert_allclose(spin @ spin.T, np.eye(64), atol=1e-5)
    for x, one in zip((keys.double().numpy(), values.double().numpy()), found, strict=True):
        norm = np.linalg.norm(x, axis=-1, keepdims=True)
        turned = x / norm @ spin.T
        nearest = levels[np.abs(turned[..., None] - levels).argmin(axis=-1)]
        off = np.linalg.norm(one.double().numpy() - norm * (nearest @ spin), axis=-1) / norm[..., 0]
        # A number in the cell where two levels meet may go either way.
        assert np.median(off) < 1e-3
        assert (off > 2e-3).mean() < 0.1


def test_product_mode_adds_the_sketch_of_the_residual(lab):
    seed, bits = lab.load("turboquant_prod"), 3
    seed.SETTINGS = (bits,)
    keys, values = lab.draw(heads=2, n=19)
    found, _ = lab.through(seed, keys, values, 99.0, draw=8)
    rng = lab.shared(8)
    spin, sketch = (each.double().numpy() for each in (seed.rotation(64, rng), seed.projection(64, rng)))
    levels, x = seed.codebook(bits - 1, 64).double().numpy(), keys.double().numpy()
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    turned = x / norm @ spin.T
    coarse = levels[np.abs(turned[..., None] - levels).argmin(axis=-1)]
    rest = turned - coarse
    signs = np.where(rest @ sketch.T > 0, 1, -1)
    scale = math.sqrt(math.pi / 2) / 64 * np.linalg.norm(rest, axis=-1, keepdims=True)
    expected = norm * ((coarse + scale * (signs @ sketch)) @ spin)
    off = np.linalg.norm(found.double().numpy() - expected, axis=-1) / norm[..., 0]
    assert np.median(off) < 2e-3


def test_tiers_give_bits_by_age_alone_and_decode_as_plain_turboquant_does(lab):
    seed, plain = lab.load("turboquant_tiered"), lab.load("turboquant_mse")
    seed.SETTINGS = ((2, 0.5),)
    keys, values = lab.draw(heads=2, n=200)
    bits = seed.allot(torch.arange(199, -1, -1), (2, 0.5))
    expected = [16] * 4 + [2] * 96 + [4] * 75 + [8] * 19 + [16] * 6
    assert bits.tolist() == expected
    found = lab.through(seed, keys, values, 99.0, draw=2)
    for each in (2, 4, 8):
        plain.SETTINGS = (each,)
        whole = lab.through(plain, keys, values, 99.0, draw=2)
        for one, two in zip(found, whole, strict=True):
            torch.testing.assert_close(one[:, bits == each], two[:, bits == each], rtol=0, atol=1e-5)
    assert torch.equal(found[0][:, bits == 16], keys[:, bits == 16].half().float())


def test_tiers_use_the_cap_better_than_two_parts_in_a_hundred(lab):
    seed = lab.load("turboquant_tiered")
    for cap in (2.75, 3.75, 4.75, 6.75):
        keys, values = lab.draw(heads=3, n=1208)
        used = 8 * lab.charged(lab.encode(seed, keys, values, cap)) / (2 * keys.numel())
        assert 0.97 * cap < used <= cap
