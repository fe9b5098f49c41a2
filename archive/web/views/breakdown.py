"""A problem's own report, whatever its shape, as tables: every list of records becomes one, scalars another."""

from __future__ import annotations

from typing import Any

DEEPEST = 8
MOST_TABLES = 400
MOST_ROWS = 500
SHADES = 6


def breakdown(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Tables with `title`, `header`, `numeric` and `rows` of cells `{text, shade}`.

    Records that lie at the same place of sibling branches, such as the layers of every operating point, stand in one
    table, with the branch's name in a column `at`. A column that says the same in every row is left out. A shade from
    0 to 5 says how large a number is within its column, so that the worst layer or case stands out.
    """
    found: list[tuple[list[str], list[dict[str, Any]]]] = []
    _walk(report, [], found)
    groups: dict[tuple[str, ...], list[tuple[str, list[dict[str, Any]]]]] = {}
    for path, records in found:
        shared = (*path[:-2], path[-1]) if len(path) > 2 else tuple(path)
        groups.setdefault(shared, []).append((path[-2] if len(path) > 2 else "", records))
    return [_table(" › ".join(path), branches) for path, branches in groups.items()]


def number(value: Any) -> str:
    """A figure as a cell shows it; a list of figures, one for each head, with their separators."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " · ".join(number(one) for one in value[:16]) + (" …" if len(value) > 16 else "")
    return str(value)


def _walk(value: Any, path: list[str], found: list[tuple[list[str], list[dict[str, Any]]]]) -> None:
    if len(path) > DEEPEST or len(found) >= MOST_TABLES:
        return
    if _is_records(value):
        found.append((path, value))
    elif isinstance(value, dict):
        plain = {str(key): one for key, one in value.items() if not _is_branch(one)}
        if plain:
            found.append((path, [plain]))
        for key, one in value.items():
            if _is_branch(one):
                _walk(one, [*path, str(key)], found)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_branch(value: Any) -> bool:
    return isinstance(value, dict) or _is_records(value)


def _table(title: str, branches: list[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    named = len(branches) > 1
    records = [{**({"at": name} if named else {}), **record} for name, found in branches for record in found]
    columns: dict[str, list[Any]] = {
        name: [record.get(name) for record in records]
        for name in dict.fromkeys(str(key) for record in records for key in record)
    }
    if len(records) > 1:
        columns = {
            name: values for name, values in columns.items() if any(one != values[0] for one in values)
        } or columns
    spans = {name: _span(values) for name, values in columns.items() if name != "layer" and len(records) > 1}
    rows = [
        [
            {"text": number(values[at]), "shade": _shade(_magnitude(values[at]), spans.get(name))}
            for name, values in columns.items()
        ]
        for at in range(min(len(records), MOST_ROWS))
    ]
    numeric = [all(_magnitude(one) is not None or one is None for one in values) for values in columns.values()]
    return {"title": title, "header": list(columns), "numeric": numeric, "rows": rows}


def _span(values: list[Any]) -> tuple[float, float] | None:
    found = [_magnitude(value) for value in values]
    known = [value for value in found if value is not None]
    return (min(known), max(known)) if len(known) == len(found) else None


def _magnitude(value: Any) -> float | None:
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        return float(max(value))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shade(value: float | None, span: tuple[float, float] | None) -> int | None:
    if value is None or span is None or span[1] <= span[0]:
        return None
    return min(SHADES - 1, int(SHADES * (value - span[0]) / (span[1] - span[0])))
