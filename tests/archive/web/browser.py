"""What tests do with a page in a browser: visit it, and look for what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parent / "vendor"
DRAWN = """() => [...document.querySelectorAll('[data-plot]')].every(
    ({dataset}) => dataset.drawn && (!dataset.beside || dataset.whole)
)"""
"""Plots are drawn, with what is published beside the run, which comes later and moves the axes."""


def visit(page: Any, served: Any, path: str) -> None:
    page.goto(served.url + path, wait_until="load")
    page.wait_for_function(DRAWN)


def flaws(page: Any, served: Any, paths: Iterable[str], *, unfolded: bool = False) -> dict[str, Any]:
    """What axe finds on pages, and how far they are wider than the window: in light, and in dark on a telephone."""
    axe = (VENDOR / "axe-core-4.14.1.min.js").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    for scheme, width in (("light", 1280), ("dark", 360)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        for path in paths:
            visit(page, served, path)
            if unfolded:
                page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
            page.evaluate(axe)
            result = page.evaluate("axe.run({ resultTypes: ['violations'] })")
            broken = {one["id"]: [node["html"][:120] for node in one["nodes"][:3]] for one in result["violations"]}
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if broken or wide > 0:
                found[f"{path} {scheme}"] = (broken, wide)
    return found
