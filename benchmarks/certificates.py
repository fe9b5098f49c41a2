"""What certificates cost and how often they are wrong; what selection under noise lets through.

python benchmarks/certificates.py

1. Documents until betting decides whether a rate is below delta = .1, over true rates, against the fixed test planned
   for a rate of .07 (Clopper-Pearson, power .9).
2. 1,000 audits each of candidates at or above delta: how often a certificate is issued.
3. Many challengers as good as the incumbent, a few better, told apart by paired documents with e-LOND, and by the mean
   alone.
4. Seconds that the statistics of one attempt take.
"""

from __future__ import annotations

import time

import numpy as np

from vevolve.archive import checker
from vevolve.evaluators.confidence import betting, fixed, paired
from vevolve.evaluators.confidence.discoveries import Discoveries

DELTA, ALPHA = 0.1, 0.05
RATES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.06, 0.07, 0.08, 0.12, 0.15, 0.2, 0.25, 0.3, 0.5)
MOST = 3000


def documents() -> None:
    planned = fixed.planned(DELTA, 0.07, ALPHA, 0.9)
    print(f"1. documents until a decision about delta = {DELTA}, alpha = {ALPHA}; the fixed test needs {planned}")
    print(f"{'true rate':>10}{'median':>8}{'mean':>8}{'planned / mean':>16}   as shares of 24 units, clustered: median")
    draw = np.random.default_rng(1)
    for rate in RATES:
        found = decided((draw.random((MOST, 400)) < rate).astype(float))
        chance = draw.beta(max(rate, 1e-9) * 2, (1 - rate) * 2, (MOST, 400)) if rate else np.zeros((MOST, 400))
        shares = decided(draw.binomial(24, chance) / 24)
        print(
            f"{rate:>10}{np.median(found):>8.0f}{found.mean():>8.0f}{planned / found.mean():>16.1f}"
            f"{'   more' if found.mean() > planned else '       '}{np.median(shares):>12.0f}"
        )


def decided(draws: np.ndarray) -> np.ndarray:
    """After how many documents each column is decided; MOST where it never is."""
    out = betting.rejects(draws, DELTA, ALPHA) | betting.rejects(1 - draws, 1 - DELTA, ALPHA)
    return np.where(out.any(axis=0), out.argmax(axis=0) + 1, MOST)


def audits() -> None:
    print(
        f"\n2. certificates issued to candidates that do not deserve one, of 1,000 audits of 60 documents, at {ALPHA}"
    )
    laws = {
        "units by themselves, rate .1": lambda draw, shape: draw.binomial(24, 0.1, shape) / 24,
        "whole documents bad, rate .1": lambda draw, shape: (draw.random(shape) < 0.1).astype(float),
        "whole documents bad, rate .15": lambda draw, shape: (draw.random(shape) < 0.15).astype(float),
        "chances by a beta law, mean .1": lambda draw, shape: draw.binomial(24, draw.beta(0.3, 2.7, shape)) / 24,
    }
    draw = np.random.default_rng(2)
    for name, law in laws.items():
        draws = law(draw, (60, 1000))
        bets = betting.rejects(draws, DELTA, ALPHA)[-1].mean()
        one = (draw.random(draws.shape) < draws).astype(float)
        exact = (checker.upper_limits(one, ALPHA, "clopper-pearson") <= DELTA).mean()
        units = np.round(draws.sum(axis=0) * 24)
        wrong = np.mean([fixed.clopper_pearson_upper(int(k), 60 * 24, 1 - ALPHA) <= DELTA for k in units])
        print(
            f"   {name:34} betting {bets:.3f}   clopper-pearson {exact:.3f}   (units taken for documents {wrong:.3f})"
        )


def selection() -> None:
    print("\n3. 100 runs of 200 challengers, 10 of them better by .05 (noise .1 a document, gains cut at .3)")
    print(f"{'documents':>12}{'rule':>16}{'false share':>13}{'false elites':>14}{'better ones found':>19}")
    draw = np.random.default_rng(3)
    for count in (24, 60, 120, 240):
        names = ("e-LOND", "mean above 0")
        shares, power, false = ({name: [] for name in names} for _ in range(3))
        for _ in range(100):
            better = np.zeros(200, dtype=bool)
            better[draw.choice(200, 10, replace=False)] = True
            gains = np.clip(draw.normal(0.05 * better, 0.1, (count, 200)), -0.3, 0.3)
            evidence = np.exp(betting.log_capital((1 - gains / 0.3) / 2, 0.5)[-1])
            stream, found = Discoveries(ALPHA), np.zeros(200, dtype=bool)
            for place in range(200):
                found[place], stream = stream.test(float(evidence[place]))
            for name, chosen in zip(names, (found, gains.mean(axis=0) > 0), strict=True):
                shares[name].append((chosen & ~better).sum() / max(chosen.sum(), 1))
                false[name].append((chosen & ~better).sum() / 190)
                power[name].append((chosen & better).sum() / 10)
        for name in names:
            print(
                f"{count:>12}{name:>16}{np.mean(shares[name]):>13.1%}{np.mean(false[name]):>14.2%}"
                f"{np.mean(power[name]):>19.1%}"
            )
    one = paired.compare(np.clip(draw.normal(0.05, 0.1, 60), -0.3, 0.3).tolist(), 0.3)
    print(f"   an example of 60 documents: gain {one.mean:.3f}, limits {one.lower:.3f} to {one.upper:.3f}")


def seconds() -> None:
    draw = np.random.default_rng(4)
    found = [
        {
            "key": draw.bytes(16).hex(),
            "over": {
                str(layer): ["".join(map(str, (draw.random(24) < 0.02).astype(int))) for _ in range(3)]
                for layer in range(30)
            },
            "differs": "00000000",
        }
        for _ in range(60)
    ]
    statement = {"delta": 0.1, "delta_token": 0.1, "level": 0.03, "method": "betting"}
    began = time.process_time()
    checker.figures(statement, found)
    print(f"\n4. figures of 60 documents and 90 heads: {time.process_time() - began:.2f} CPU seconds")


if __name__ == "__main__":
    documents()
    audits()
    selection()
    seconds()
