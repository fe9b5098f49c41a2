"""What a run may spend: evaluations, dollars and seconds, earlier sessions included."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field

SLACK = 1e-9
"""Dollars that rounding may add up to."""


@dataclass
class Dollars:
    """A dollar budget that counts calls in flight: what one may cost is set aside before it is made.

    Attributes:
        limit: dollars in all; None: no limit.
        spent: settled so far, by earlier sessions too.
        reserved: set aside for calls in flight.
    """

    limit: float | None = None
    spent: float = 0.0
    reserved: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, estimate: float | None) -> bool:
        """Set aside what a call may cost; False where that would pass the limit."""
        with self._lock:
            wanted = estimate or 0.0
            if self.limit is not None and self.spent + self.reserved + wanted > self.limit + SLACK:
                return False
            self.reserved += wanted
            return True

    def settle(self, estimate: float | None, cost: float | None) -> None:
        """Replace what was set aside by what the call did cost (None: no price is known, nothing is counted)."""
        with self._lock:
            self.reserved = max(0.0, self.reserved - (estimate or 0.0))
            self.spent += cost or 0.0


@dataclass
class Clock:
    """Seconds of running, pauses between sessions left out."""

    limit: float | None = None
    earlier: float = 0.0
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self.earlier + time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds until the limit is reached, and infinity without one."""
        return math.inf if self.limit is None else max(0.0, self.limit - self.elapsed)

    @property
    def over(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is not None and self.elapsed >= self.limit
