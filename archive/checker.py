"""Check a certificate with nothing but Python, numpy and scipy: `python archive/checker.py CERTIFICATE.json`.

It imports nothing of vEvolve and repeats its few formulas on purpose, so that one file is all there is to trust. From
the rows of the log that a certificate carries it derives anew: the chain of hashes, the order of events, the level
that the attempt may spend, the keys of the documents, and the verdict. What it cannot see is told in
docs/certificates.md: it runs no candidate and draws no document.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
"""Of certificates that are read here."""
METHODS = ("betting", "clopper-pearson")
STAKES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
WEIGHTS = (0.5, *(0.05,) * 10)
CLOSE = 1e-9
"""How far a stated figure may lie from the derived one."""


class Rejected(Exception):
    """Why a certificate is not accepted, and where."""


def check(certificate: Any) -> dict[str, Any]:
    """The figures of a certificate, derived anew.

    Raises:
        Rejected: it does not follow from its evidence; the message names the place.
    """
    try:
        return _check(certificate)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, binascii.Error) as error:
        raise Rejected(f"the certificate is not of the form it should have: {type(error).__name__} {error}") from error


def _check(certificate: dict[str, Any]) -> dict[str, Any]:
    if certificate["format"] != FORMAT:
        raise Rejected(
            f"it has format {certificate['format']}, written by vEvolve {certificate.get('vevolve', 'unknown')}, and "
            f"this checker reads format {FORMAT}; use the vEvolve that wrote it"
        )
    candidate = certificate["candidate"]
    if candidate_id(candidate["source"], candidate["params"]) != candidate["id"]:
        raise Rejected("candidate: the program does not have the hash that names it")
    rows = certificate["log"]["rows"]
    check_chain(certificate["log"]["before"], rows, certificate["log"]["head"])
    registered, unsealed, examined, concluded = _in_order(rows)
    for row in rows:
        if row["event"]["candidate"] != candidate["id"]:
            raise Rejected(f"{place(row)}: it is about another candidate")
    _check_statement(registered["event"], certificate["statement"], rows[0])
    for name, derived in (("claim", claim(registered["event"])), ("figures", concluded["event"]["figures"])):
        if certificate[name] != derived:
            raise Rejected(f"{name}: it does not say what {place(rows[0])} and {place(rows[-1])} say")
    _check_documents(rows[0], unsealed["event"], examined, registered["event"])
    found = figures(registered["event"]["statement"], [row["event"] for row in examined])
    _check_conclusion(concluded, found, len(examined), registered["event"]["statement"])
    return found


def claim(registered: dict[str, Any]) -> str:
    """What is certified, in words."""
    one, generator = registered["statement"], registered["generator"]
    layers = [int(layer) for layer in generator["layers"]]
    return (
        f"On documents drawn from {generator['name']} and read by {generator['model']}, at the operating point "
        f"{registered['point']['label']}, in each of the {len(layers) * int(generator['heads'])} KV heads of layers "
        f"{', '.join(map(str, layers))}: the mean share of (step, query head) units whose attention output is off by "
        f"more than {one['epsilon']:g} of its norm is at most {one['delta']:g}; and the mean share of steps whose "
        f"greedy token is not the dense model's is at most {one['delta_token']:g}. Certified at confidence "
        f"{1 - one['alpha']:g} over all attempts at this candidate in its log; this is attempt {one['attempt']}, at "
        f"level {one['level']:.4g}."
    )


def candidate_id(source: str, params: str | None) -> str:
    """The sha256 of a program's text; with parameters (base64), of the text, a zero byte and their sha256."""
    text = source.encode("utf-8", "surrogatepass")
    if params is not None:
        text += b"\0" + hashlib.sha256(base64.b64decode(params, validate=True)).digest()
    return hashlib.sha256(text).hexdigest()


def place(row: dict[str, Any]) -> str:
    """What a message calls a row."""
    event = row["event"]
    document = f", document {event['document']}" if event.get("kind") == "examined" else ""
    return f"row {row['seq']} ({event.get('kind')}{document})"


# --------------------------------------------------------------------------------------------------- the log's rows


def check_chain(before: dict[str, Any], rows: list[dict[str, Any]], head: dict[str, Any]) -> None:
    """Each row's hash is sha256(hash of the row before, canonical JSON of [time, event])."""
    seq, hash = before["seq"], before["hash"]
    for row in rows:
        if row["seq"] != seq + 1:
            raise Rejected(f"row {seq + 1} of the log is missing; row {row['seq']} stands in its place")
        text = json.dumps(row["event"], sort_keys=True, separators=(",", ":"), allow_nan=False)
        seq, hash = row["seq"], hashlib.sha256(f"{hash}[{json.dumps(row['time'])},{text}]".encode()).hexdigest()
        if hash != row["hash"]:
            raise Rejected(f"{place(row)} was changed after it was written")
    if (seq, hash) != (head["seq"], head["hash"]):
        raise Rejected(f"the log ends at row {seq}, and the certificate names row {head['seq']} as its head: cut short")


def _in_order(
    rows: list[dict[str, Any]],
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """Registered, unsealed, every document, concluded: in this order and nothing else."""
    expected = ["registered", "unsealed", *["examined"] * max(len(rows) - 3, 1), "concluded"]
    for row, kind in zip(rows, expected, strict=False):
        if row["event"]["kind"] != kind:
            raise Rejected(f"{place(row)}: expected an event '{kind}' here; the order of events was not kept")
    if len(rows) < len(expected):
        raise Rejected(f"the log has {len(rows)} rows of this attempt, and no '{expected[len(rows)]}': truncated")
    return rows[0], rows[1], rows[2:-1], rows[-1]


def _check_statement(registered: dict[str, Any], stated: dict[str, Any], row: dict[str, Any]) -> None:
    statement = registered["statement"]
    for name in sorted({*statement, *stated}):
        if statement.get(name) != stated.get(name):
            raise Rejected(
                f"statement: {name} is {stated.get(name)}, and {place(row)} was registered with {statement.get(name)}"
            )
    for name in ("epsilon", "delta", "delta_token", "alpha"):
        if not 0 < statement[name] < 1:
            raise Rejected(f"{place(row)}: {name} is {statement[name]}, outside (0, 1)")
    spent = 6 * statement["alpha"] / (math.pi**2 * statement["attempt"] ** 2)
    if statement["attempt"] < 1 or not math.isclose(statement["level"], spent, rel_tol=CLOSE):
        raise Rejected(f"{place(row)}: attempt {statement['attempt']} spends {spent:.6g}, not {statement['level']:.6g}")
    if statement["method"] not in METHODS:
        raise Rejected(f"{place(row)}: method '{statement['method']}' is none of {', '.join(METHODS)}")


def derive(key: bytes, *purpose: str | int) -> bytes:
    """The key of one purpose; as `vevolve.types.Seed.derive`."""
    message = "\0".join(f"{type(word).__name__}:{word}" for word in purpose).encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def _check_documents(
    first: dict[str, Any], unsealed: dict[str, Any], rows: list[dict[str, Any]], registered: dict[str, Any]
) -> None:
    """Keys follow from the registration and the secret; every head and step of every document is there."""
    root = hmac.new(bytes.fromhex(unsealed["nonce"]), first["hash"].encode(), hashlib.sha256).digest()[:16]
    generator = registered["generator"]
    heads, units = int(generator["heads"]), int(generator["group"]) * int(generator["steps"])
    layers = {str(layer) for layer in generator["layers"]}
    for number, row in enumerate(rows):
        event = row["event"]
        if event["document"] != number:
            raise Rejected(f"{place(row)}: expected document {number}; one was dropped or moved")
        if event["key"] != derive(root, "document", number).hex():
            raise Rejected(f"{place(row)}: its key does not follow from the registration and the secret drawn after it")
        if set(event["over"]) != layers or any(len(found) != heads for found in event["over"].values()):
            raise Rejected(f"{place(row)}: expected {heads} KV heads of each of {len(layers)} layers")
        outcomes = [*(text for found in event["over"].values() for text in found)]
        if any(len(text) != units for text in outcomes) or len(event["differs"]) != int(generator["steps"]):
            raise Rejected(f"{place(row)}: expected {units} units a head and {generator['steps']} steps")
        if set("".join(outcomes) + event["differs"]) - {"0", "1"}:
            raise Rejected(f"{place(row)}: outcomes are written as 0 and 1")


# ---------------------------------------------------------------------------------------------------- the statistics


def figures(statement: dict[str, Any], documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates, limits and verdict of an attempt, from the outcomes of its documents.

    The claim is false if one head violates more than delta in the mean, or if tokens differ more than delta_token;
    whichever it is, issuing needs that test to pass, which happens with probability `level` at most. So each head and
    the tokens are tested at the whole level (an intersection-union test), and no head needs a share of it. The
    simultaneous upper limits, which answer "how high may each head be?", are corrected by the number of limits.
    """
    level, method = statement["level"], statement["method"]
    names = head_names(documents[0])
    shares, draws = draws_of({"method": "betting"}, documents), draws_of(statement, documents)
    passes = _passes(draws[:, :-1], statement["delta"], level, method)
    token_passes = _passes(draws[:, -1:], statement["delta_token"], level, method)
    limits = upper_limits(draws, level / (len(names) + 1), method)
    worst = int(np.argmax(limits[:-1]))
    return {
        "passes": bool(passes.all() and token_passes.all()),
        "heads": len(names),
        "heads_passed": int(passes.sum()),
        "tokens_passed": bool(token_passes.all()),
        "pooled_rate": float(shares[:, :-1].mean()),
        "worst_head": f"layer {names[worst][0]}, KV head {names[worst][1]}",
        "worst_head_rate": float(shares[:, worst].mean()),
        "worst_head_upper": float(limits[worst]),
        "token_rate": float(shares[:, -1].mean()),
        "token_upper": float(limits[-1]),
    }


def head_names(document: dict[str, Any]) -> list[tuple[str, int]]:
    """(layer, KV head) of every head that was examined, in order."""
    return [
        (layer, head) for layer in sorted(document["over"], key=int) for head in range(len(document["over"][layer]))
    ]


def draws_of(statement: dict[str, Any], documents: list[dict[str, Any]]) -> np.ndarray:
    """One number in [0, 1] a document (rows), for each head and, last, for the tokens (columns).

    The share of units; or, where the test is exact for draws of 0 and 1 alone, one unit chosen by the document's key.
    """
    rows: list[list[float]] = []
    for one in documents:
        exact = statement["method"] == "clopper-pearson"
        found = [*((one["over"][layer][head], (layer, head)) for layer, head in head_names(one))]
        found.append((one["differs"], ("tokens", 0)))
        rows.append([_drawn(one, text, *unit) if exact else mean(text) for text, unit in found])
    return np.array(rows)


def mean(text: str) -> float:
    """The share of ones."""
    return text.count("1") / len(text)


def _drawn(document: dict[str, Any], text: str, *unit: str | int) -> float:
    """The outcome of one unit, chosen by the document's key."""
    chosen = int.from_bytes(derive(bytes.fromhex(document["key"]), "unit", *unit)[:8], "big") % len(text)
    return float(text[chosen])


def _passes(draws: np.ndarray, rate: float, level: float, method: str) -> np.ndarray:
    if method == "betting":
        return np.asarray(log_capital(draws, rate).max(axis=0) >= -math.log(level))
    return upper_limits(draws, level, method) <= rate


def upper_limits(draws: np.ndarray, level: float, method: str) -> np.ndarray:
    """Upper limits at 1 - level of the means of the columns of draws [documents, columns]."""
    if method == "clopper-pearson":
        failed, count = draws.sum(axis=0), len(draws)
        from scipy import stats  # type: ignore[import-untyped]  # here, since loading it takes a second

        return np.where(failed == count, 1.0, stats.beta.ppf(1 - level, failed + 1, np.maximum(count - failed, 1)))
    low, high = np.zeros(draws.shape[1]), np.ones(draws.shape[1])
    for _ in range(40):
        middle = (low + high) / 2
        out = log_capital(draws, middle).max(axis=0) >= -math.log(level)
        low, high = np.where(out, low, middle), np.where(out, middle, high)
    return high


def log_capital(draws: np.ndarray, rate: Any) -> np.ndarray:
    """By document, the log capital of a gambler against "the mean is `rate` or more" (docs/certificates.md)."""
    stakes, weights = np.array(STAKES)[:, None, None], np.array(WEIGHTS)[:, None, None]
    with np.errstate(divide="ignore"):
        logs = np.log((1 - stakes) + stakes * (1 - draws) / (1 - np.asarray(rate))).cumsum(axis=1)
        peak = np.maximum(logs.max(axis=0), -1e300)
        return np.asarray(peak + np.log((weights * np.exp(logs - peak)).sum(axis=0)))


def _check_conclusion(row: dict[str, Any], found: dict[str, Any], count: int, statement: dict[str, Any]) -> None:
    event = row["event"]
    if event["documents"] != count:
        raise Rejected(f"{place(row)}: it counts {event['documents']} documents; the log holds {count}")
    if count > statement["documents"] or (statement["method"] != "betting" and count < statement["documents"]):
        raise Rejected(f"{place(row)}: {statement['documents']} documents were registered, and {count} were examined")
    for name, value in found.items():
        stated = event["figures"].get(name)
        if not (math.isclose(stated, value, abs_tol=CLOSE) if isinstance(value, float) else stated == value):
            raise Rejected(f"{place(row)}: {name} is stated as {stated}; the outcomes give {value}")
    if not (found["passes"] and event["issued"]):
        raise Rejected(f"{place(row)}: the outcomes do not support the claim: {event['reason']}")


def main(arguments: list[str]) -> int:
    """Check the certificates that are named; 0 where all are accepted."""
    code = 0
    for name in arguments:
        try:
            print(f"{name}: accepted. {json.dumps(check(json.loads(Path(name).read_text(encoding='utf-8'))))}")
        except (Rejected, OSError, ValueError, RecursionError) as error:
            print(f"{name}: REJECTED: {error}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
