"""Time spans as people read them."""

from __future__ import annotations

import math

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """Return a time span in the units that matter: `2 h 05 min`, `1 min 20 s`, `3.4 s`, `250 ms`.

    Zero is `0 s`, and a dash what is not finite.
    """
    if not math.isfinite(seconds):
        return "–"
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole, minutes = round(seconds), round(seconds / 60)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 86400:.1f} days"
