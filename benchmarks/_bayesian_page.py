"""docs/results/bayesian.md, from the results of benchmarks/bayesian.py and benchmarks/joint.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _record import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "results" / "bayesian.md"


def write_page() -> None:
    """Write what there is of the two."""
    lines = ["# Bayesian optimisation of numbers, and of numbers beside architectures", ""]
    for name, section in (("bayesian", _functions), ("joint", _joint)):
        path = RESULTS / f"{name}.json"
        if path.exists():
            lines += section(json.loads(path.read_text()))
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def _functions(result: dict[str, Any]) -> list[str]:
    lines = [
        "## Against random search on functions",
        "",
        "`python benchmarks/bayesian.py`: strategy `bo` with its defaults (Matérn 5/2, log "
        "expected improvement, most probable hyperparameters, 8 random points before the first "
        "model) and `random`, the best value found (greater is better), and the difference of the "
        "two at the same seed, which gives both the same random start, with its 95% interval. "
        "`mixed-toy` has a choice beside two numbers.",
        "",
        _machine(result),
        "",
        "| function | queries | seeds | bo | random | difference | ms a query |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in result["summary"].items():
        low, high = found["difference_95"]
        lines.append(
            f"| {name} | {result['queries'][name]} | {found['seeds']} | {found['bo']:.3f} | "
            f"{found['random']:.3f} | {found['difference']:.3f} ({low:.3f} to {high:.3f}) | "
            f"{found['ms_per_query']:.0f} |"
        )
    return [*lines, ""]


def _joint(result: dict[str, Any]) -> list[str]:
    found, rows = result["summary"], result["rows"]
    half = found["half_width_95"]
    lines = [
        "## Architecture, learning rate and weight decay together, trained on digits",
        "",
        f"`python benchmarks/joint.py`: a NAS-Bench-201 cell (one a stage, 4 channels), a learning "
        "rate of 0.001 to 1 and a weight decay of 1e-5 to 0.01 (both logarithmic) are searched at "
        f"once. Hyperband trains for 1 to {result['full']} epochs, and anew what it promotes; "
        f"random search trains each for {result['full']}. Both stop at {result['epochs']} epochs "
        "in all. What counts is the validation accuracy of the best full training.",
        "",
        _machine(result),
        "",
        "| seed | hyperband | its trainings | random | its trainings |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        one, other = row["hyperband"], row["random"]
        lines.append(
            f"| {row['seed']} | {one['best']:.4f} | {one['trainings']} | {other['best']:.4f} | "
            f"{other['trainings']} |"
        )
    lines += ["", f"Means {found['hyperband']:.4f} and {found['random']:.4f}."]
    if half is not None:
        low, high = found["difference"] - half, found["difference"] + half
        verdict = "is above" if low > 0 else "is below" if high < 0 else "cannot be told from"
        lines.append(
            f"Hyperband {verdict} random search: difference {found['difference']:.4f}, 95% "
            f"interval {low:.4f} to {high:.4f} over {found['seeds']} paired seeds. On digits both "
            "are within two hundredths of perfect, so that there is little left to win."
        )
    return [*lines, ""]


def _machine(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"Processor: {machine['processor']}, one thread, shared with other work; commit "
        f"{machine['commit']}, {machine['date']}."
    )


if __name__ == "__main__":
    write_page()
