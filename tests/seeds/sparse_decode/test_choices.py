"""Each seed's deliberate choice against an independent computation, in loops, of what its paper says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

CASES = [
    pytest.param({"n": 100, "prompt": 91}, 40, id="n100"),
    pytest.param({"n": 63, "prompt": 63, "group": 1}, 20, id="n63"),
    pytest.param({"n": 201, "prompt": 50, "heads": 2, "d": 20}, 64, id="151-generated"),
]


def chosen(ids):
    return [set(row[row >= 0].tolist()) for row in ids]


def attention(step):
    logits = step.logits()
    w = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (w / w.sum(axis=-1, keepdims=True)).sum(axis=1)


def quest_scores(step, page, h):
    """Bounds by loops over the pages of all visible tokens, whether build, append or nobody has seen them yet."""
    q, k = step.query[h].double().numpy(), step.keys[h].half().double().numpy()
    scores = []
    for i in range(step.n):
        members = k[i // page * page : min(i // page * page + page, step.n)]
        low, high = members.min(axis=0), members.max(axis=0)
        scores.append(max(sum(max(a * x, a * y) for a, x, y in zip(row, low, high, strict=True)) for row in q))
    return scores


def best(scores, forced, count):
    """`forced` in its order, then by score, earlier tokens first among equals."""
    rest = sorted((i for i in range(len(scores)) if i not in forced), key=lambda i: (-scores[i], i))
    return set([*forced, *rest][:count])


@pytest.mark.parametrize(("shape", "budget"), CASES)
def test_streaming_llm_keeps_four_sinks_and_the_newest(lab, shape, budget):
    step = lab.draw(**shape)
    ids, prob = step.answer(lab.load("streaming_llm"), lab.tokens(budget))
    expected = {0, 1, 2, 3} | set(range(step.n - budget + 4, step.n))
    assert chosen(ids) == [expected] * len(ids) and bool((prob == 1).all())


@pytest.mark.parametrize(("shape", "budget"), CASES)
def test_quest_keeps_sinks_open_page_and_the_pages_of_largest_bound(lab, shape, budget):
    step, seed = lab.draw(**shape), lab.load("quest")
    ids, prob = step.answer(seed, lab.tokens(budget))
    page = seed.PAGE
    forced = [0, 1, 2, 3, *range((step.n - 1) // page * page, step.n)]
    expected = [best(quest_scores(step, page, h), forced, budget) for h in range(len(ids))]
    assert chosen(ids) == expected and bool((prob == 1).all())


def test_quest_bounds_no_logit_from_below(lab):
    step, seed = lab.draw(n=300, prompt=290), lab.load("quest")
    step.answer(seed, lab.tokens(32))
    index = seed.build(step.keys[:, : step.prompt])
    bound = seed.score(step.query, index, step.cache).double().numpy()
    logits = step.logits().max(axis=1) * np.sqrt(step.query.shape[-1])
    assert (bound >= logits - 0.01).all() and (bound[:, : step.prompt] > logits[:, : step.prompt] + 0.1).mean() > 0.5


@pytest.mark.parametrize("prompt", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("page", [1, 7, 16, 100])
def test_quest_folds_generated_tokens_as_if_they_had_been_there(lab, prompt, page):
    step, seed = lab.draw(n=prompt + 128), lab.load("quest")
    seed.PAGE = page
    keys = step.keys[:, : step.n]
    grown = seed.append(
        seed.append(seed.build(keys[:, :prompt]), keys[:, prompt : prompt + 64]), keys[:, prompt + 64 :]
    )
    whole = seed.build(keys)
    assert grown.keys() == whole.keys()
    assert all(torch.equal(grown[name], whole[name]) for name in whole)


def test_quest_follows_pages_that_are_moved(lab):
    """Whole pages between the sinks and the open page change places: the choice moves with them."""
    step, seed = lab.draw(n=163, prompt=160), lab.load("quest")
    order = torch.arange(step.keys.shape[1]).clone()
    order[16:144] = order[16:144].view(8, 16)[torch.tensor([3, 1, 7, 0, 5, 2, 6, 4])].flatten()
    moved = lab.Step(step.query, step.keys[:, order], step.values[:, order], step.prompt, step.n)
    ids, _ = step.answer(seed, lab.tokens(4 + 3 + 3 * 16 + 12))
    moved_ids, _ = moved.answer(seed, lab.tokens(4 + 3 + 3 * 16 + 12))
    whole = [[page for page in range(1, 9) if set(range(page * 16, page * 16 + 16)) <= row] for row in chosen(ids)]
    assert all(len(pages) >= 2 for pages in whole)
    for pages, row in zip(whole, chosen(moved_ids), strict=True):
        places = {int(old): new for new, old in enumerate(order)}
        assert all({places[i] for i in range(page * 16, page * 16 + 16)} <= row for page in pages)


@pytest.mark.parametrize(("shape", "budget"), CASES)
def test_oracle_topk_keeps_the_largest_summed_attention_wherever_it_stands(lab, shape, budget):
    step = lab.draw(**shape)
    ids, prob = step.answer(lab.load("oracle_topk"), lab.tokens(budget))
    assert chosen(ids) == [best(row, [], budget) for row in attention(step)] and bool((prob == 1).all())
    order = torch.cat(
        [torch.randperm(step.n, generator=torch.Generator().manual_seed(2)), torch.arange(step.n, step.n + 7)]
    )
    moved = lab.Step(step.query, step.keys[:, order], step.values[:, order], step.prompt, step.n)
    moved_ids, _ = moved.answer(lab.load("oracle_topk"), lab.tokens(budget))
    assert [{int(order[i]) for i in row} for row in chosen(moved_ids)] == chosen(ids)


@pytest.mark.parametrize(("shape", "budget"), CASES)
def test_oracle_topp_keeps_the_least_sets_that_reach_one_share_of_the_rest(lab, shape, budget):
    step, seed = lab.draw(**shape), lab.load("oracle_topp")
    step.query[0] *= 3  # a peaked head beside flat ones
    ids, _ = step.answer(seed, lab.tokens(budget))

    def sets(p):
        found = []
        for row in attention(step):
            rest = sorted(range(seed.SINKS, step.n), key=lambda i: -row[i])
            total, mass, kept = sum(row[i] for i in rest), 0.0, set(range(seed.SINKS))
            for i in rest:
                if mass / total >= p:
                    break
                kept.add(i)
                mass += row[i]
            found.append(kept)
        return found

    low, high = 0.0, 1.0  # bisect for the largest p within the budget of the layer
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(map(len, sets(middle))) <= budget * len(ids) else (low, middle)
    expected = sets(low)
    difference = [len(a ^ b) for a, b in zip(chosen(ids), expected, strict=True)]
    assert sum(map(len, chosen(ids))) == budget * len(ids)
    assert sum(difference) <= 1  # the one token that crosses the budget
    assert len(ids) == 1 or len({len(row) for row in chosen(ids)}) > 1


@pytest.mark.parametrize(("shape", "budget"), CASES)
def test_vattention_keeps_its_share_of_sinks_window_and_heavy_tokens(lab, shape, budget):
    step, seed = lab.draw(**shape), lab.load("vattention")
    ids, prob = step.answer(seed, lab.tokens(budget))
    sure = budget - round(seed.SAMPLE_SHARE * budget)
    sinks, window = int(np.ceil(seed.SINK_SHARE * sure)), int(np.ceil(seed.WINDOW_SHARE * sure))
    forced = [*range(sinks), *range(step.n - window, step.n)]
    for h, row in enumerate(ids):
        kept = set(row[prob[h] == 1].tolist())
        assert kept == best(quest_scores(step, seed.PAGE, h), forced, sure)
        assert torch.allclose(prob[h][prob[h] < 1], torch.tensor((budget - sure) / (step.n - sure)))
