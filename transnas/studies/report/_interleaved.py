"""An interleaved search as a page: what was found, how each task went, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transnas.spaces import Space
from transnas.studies._duration import duration
from transnas.studies.report._charts import Line, chart
from transnas.studies.report._format import escape, panel, sentence, tick, tiles, value
from transnas.studies.report._graph import draw_architecture
from transnas.studies.report._page import page

__all__ = ["headline", "interleaved_html"]

_METRICS = ("accuracy", "map", "miou")
Record = Mapping[str, Any]


def interleaved_html(record: Record, space: Space) -> str:
    """Return the page of a record of `studies.interleave`."""
    names = list(record["definition"]["tasks"])
    tasks = [
        (f"task-{i}", name, _task(record, name, f"task-{i}")) for i, name in enumerate(names, 1)
    ]
    whole = ("search", "The search", _search(record, space, names))
    return page("Interleaved search on " + ", ".join(names), [whole, *tasks])


def headline(metrics: Mapping[str, float]) -> str:
    """Return a task's metric in words, of test data (else of validation data, with a star)."""
    name = next(n for n in _METRICS if f"validation_{n}" in metrics)
    shown = "" if name == "accuracy" else f"{name} "
    if f"test_{name}" in metrics:
        return f"{shown}{value(f'test_{name}', metrics[f'test_{name}'])}"
    return f"{shown}{value(f'validation_{name}', metrics[f'validation_{name}'])} *"


def _search(record: Record, space: Space, names: Sequence[str]) -> str:
    main = record["methods"]["interleaved"]
    points = record["curves"]
    parts = [
        _facts(record),
        _tiles(main),
        f"<div class='columns'>{_architectures(main, space)}"
        f"<div class='stack'>{_methods(record, names)}</div></div>",
        "".join(sentence(event) for event in record["events"]),
        "<h3>Its course</h3><div class='columns even'>",
        _over(points, "Validation loss of each task", {n: _of(n, "validation") for n in names}),
        _over(points, "Length of each task's architecture gradient",
              {n: _of(n, "gradient") for n in names}),
        _over(points, "Cosine of two tasks' architecture gradients (below 0: conflict)",
              {k.removeprefix("cosine "): _plain(k) for k in _cosines(points)}),
        _over(points, "Entropy of the architecture (nats an edge)", {"entropy": _plain("entropy")}),
        "</div>",
        f"<p class='note'>{escape(record['environment']['command'])}</p>",
    ]  # fmt: skip
    return f"<section id='search'>{''.join(parts)}</section>"


def _facts(record: Record) -> str:
    chosen = record["definition"]
    shown = {
        "space": chosen["space"], "preset": chosen["setting preset"],
        "method": chosen["setting method"], "rounds": chosen["setting rounds"],
        "order": chosen["setting order"], "balance": chosen["setting balance"],
        "seed": chosen["seed"],
    }  # fmt: skip
    words = "".join(f"<span><b>{k}</b> {escape(v)}</span>" for k, v in shown.items())
    return f"<h2>The search</h2><p class='facts'>{words}</p>"


def _tiles(main: Record) -> str:
    cost, cells = main["cost"], main["tasks"].values()
    share = cost["transfer_seconds"] / cost["seconds"] if cost["seconds"] else 0.0
    training = sum(cell["seconds"] for cell in cells)
    rows = (
        (duration(cost["seconds"]), "search", f"{cost['training_passes']:,} weight steps"),
        (f"{100 * share:.1f}%", "of it for the transfer", f"{cost['matched_images']:,} images"),
        (duration(training), "training of the networks", "encoder and head, from new weights"),
        (f"{sum(c['metrics']['parameters'] for c in cells):,.0f}", "weights", "of all networks"),
    )
    return tiles(rows)


def _architectures(main: Record, space: Space) -> str:
    """Return a drawing of the shared architecture, or one of each that a task has."""
    found = main["architectures"]
    shared = len(set(found.values())) == 1
    drawn = []
    for text in dict.fromkeys(found.values()):
        whose = ", ".join(name for name, own in found.items() if own == text)
        title = "The shared architecture" if shared else f"Architecture of {whose}"
        body = draw_architecture(space, space.from_text(text))
        drawn.append(panel(title, f"{body}<code class='block'>{escape(text)}</code>", "incumbent"))
    return "".join(drawn)


def _methods(record: Record, names: Sequence[str]) -> str:
    """Return a table of tasks and methods."""
    methods = record["methods"]
    head = "<th>task</th>" + "".join(f"<th class='n'>{escape(name)}</th>" for name in methods)
    rows = [
        _cells(n, [headline(row["tasks"][n]["metrics"]) for row in methods.values()]) for n in names
    ]
    rows.append(_cells("search", [duration(r["cost"]["seconds"]) for r in methods.values()]))
    body = f"<table class='plain'><tr>{head}</tr>{''.join(rows)}</table>"
    return panel("Test metrics (* of validation data)", f"<div class='scroll'>{body}</div>")


def _cells(name: str, texts: Sequence[str]) -> str:
    cells = "".join(f"<td class='n'>{escape(text)}</td>" for text in texts)
    return f"<tr><th scope='row'>{escape(name)}</th>{cells}</tr>"


def _task(record: Record, name: str, anchor: str) -> str:
    cell, points = record["methods"]["interleaved"]["tasks"][name], record["curves"]
    rounds = range(1, record["definition"]["setting rounds"] + 1)
    final = "".join(
        f"<tr><th scope='row'>{escape(metric.replace('_', ' '))}</th>"
        f"<td class='n'>{escape(value(metric, number))}</td></tr>"
        for metric, number in cell["metrics"].items()
    )
    curve = [{"iteration": e, **point} for e, point in enumerate(cell["curve"], 1)]
    scored = [n for n in _METRICS if curve and f"validation_{n}" in curve[0]]
    return (
        f"<section id='{anchor}'><h2>{escape(name)}</h2>"
        "<div class='columns even'>"
        + _over(points, "Search: training loss, by round",
                {f"round {m}": _of(name, f"train/{m}") for m in rounds})
        + _over(points, "Search: transfer term, by round",
                {f"round {m}": _of(name, f"transfer/{m}") for m in rounds})
        + _over(curve, "Network: training loss", {"train": _plain("train_loss")}, "epochs")
        + _over(curve, f"Network: validation {'/'.join(scored)}",
                {n: _plain(f"validation_{n}") for n in scored}, "epochs", *scored[:1])
        + f"</div>{panel('The trained network', f'<table class=plain>{final}</table>')}</section>"
    )  # fmt: skip


def _over(
    points: Sequence[Record],
    title: str,
    lines: Mapping[str, Any],
    along: str = "iterations",
    metric: str = "",
) -> str:
    """Return a chart of what each of `lines` reads from the points that have it.

    Numbers stand there as those of `metric` do.
    """
    drawn = []
    for colour, (label, read) in enumerate(lines.items()):
        known = [(float(p["iteration"]), y) for p in points if (y := read(p)) is not None]
        if known:
            xs, ys = [x for x, _ in known], [y for _, y in known]
            drawn.append(Line(label, xs, ys, colour=colour))
    return chart(title, along, drawn, format_y=lambda y: tick(metric, y))


def _of(task: str, key: str) -> Any:
    return lambda point: point["tasks"][task].get(key)


def _plain(key: str) -> Any:
    return lambda point: point.get(key)


def _cosines(points: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(k for p in points for k in p if k.startswith("cosine ")))
