"""The table of docs/results/supernet-speed.md, from the figures of `supernets.py`."""

from __future__ import annotations

import json
from typing import Any

from _record import RESULTS


def table(result: dict[str, Any]) -> str:
    """Return one row a case and variant: median, extremes, ratio to the case's base."""
    lines = [
        "| step | variant | seconds (least - most) | times faster |",
        "| --- | --- | --- | --- |",
    ]
    for case, found in result.items():
        if not isinstance(found, dict) or case == "machine":
            continue
        for variant, row in found.items():
            if not isinstance(row, dict):
                continue
            ratio = next(v for k, v in row.items() if k.startswith("times_faster"))
            base = next(k for k in row if k.startswith("times_faster")).rpartition("_")[2]
            shown = "" if base == variant else f"{ratio} than {base}"
            low, high = min(row["seconds"]), max(row["seconds"])
            seconds = f"{row['median_seconds']:.2f} ({low:.2f} - {high:.2f})"
            lines.append(f"| {case} | {variant} | {seconds} | {shown} |")
    peaks = ", ".join(f"{name} {gb} GB" for name, gb in result.get("peak_gb", {}).items())
    return "\n".join(lines) + f"\n\nPeak memory of a process with two DARTS steps: {peaks}.\n"


if __name__ == "__main__":
    print(table(json.loads((RESULTS / "supernets.json").read_text())))
