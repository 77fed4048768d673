"""The report page: complete in itself, escaped, readable; its drawings do not overlap."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_toys import TASK, Sum

from transnas import InputError, spaces
from transnas.evaluation import Cost, Evaluator, Found, Measurement, Objective
from transnas.spaces import Architecture, Graph
from transnas.studies import Study, Trial, compare, search, write_report
from transnas.studies._counted import counted
from transnas.studies._storage import label_of
from transnas.studies.report import draw_graph, report_html, standalone_drawing
from transnas.studies.report._axes import scale
from transnas.studies.report._charts import Line, chart
from transnas.studies.report._format import tick, value
from transnas.studies.report._importance import importance
from transnas.studies.report._layout import ITEM_GAP, PART_GAP, layered, separated
from transnas.studies.report._oneshot import search_figures
from transnas.studies.report._parallel import parallel_figure
from transnas.tasks import Signature, TableTask

EPOCH = datetime.fromtimestamp(0, timezone.utc)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers what a browser would load or show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, text or "") for name, text in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, text or "") for name, text in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


class Failing(Sum):
    """Fails on the cells that begin with a skip."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        if arch.values[0] == 1:
            raise ValueError("no such thing")
        return super().evaluate(arch, budget, seed)


def toy(trials: int = 40, evaluator: Evaluator | None = None, **options: Any) -> Study:
    options = {"strategy": "random", "storage": "memory://report", **options}
    name = f"{len(options)}-{trials}-{type(evaluator).__name__}-{options.get('objectives')}"
    return search(TASK, trials=trials, evaluator=evaluator or Sum(), name=name, **options)


@pytest.fixture(scope="module")
def study() -> Study:
    return toy(60, Failing(), objectives=["validation_accuracy", Objective("size", False)])


@pytest.fixture(scope="module")
def page(study: Study) -> Page:
    return Page(report_html([study]))


def test_the_page_loads_nothing(study: Study) -> None:
    html = report_html([study])
    page = Page(html)
    loading = [(t, n, v) for t, n, v in page.attributes if n in ("src", "href", "data", "srcset")]
    assert all(text.startswith("#") for _, _, text in loading)
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    assert "url(" not in html.replace("url(#arrow)", "")
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_what_was_stopped_early_is_never_the_best_so_far() -> None:
    found = toy(8, storage="memory://pruned")
    best = found.trials[5].measurement
    early = replace(best, status="pruned", metrics={"validation_accuracy": 0.999})
    found.trials[5] = replace(found.trials[5], measurement=early)
    html = report_html([found])
    dots = dict(re.findall(r'cy="([\d.]+)" r="3"><title>(trial \d+): ', html))
    (height,) = (y for y, name in dots.items() if name == "trial 5")
    line = re.findall(r'<path class="line c0" d="([^"]+)"><title>best so far', html)[0]
    heights = {point.split()[1] for point in re.split("[ML]", line)[1:]}
    assert height not in heights
    assert heights <= dots.keys()
    assert min(heights, key=float) == min((y for y in dots if y != height), key=float)


def test_the_page_says_what_was_found(study: Study, page: Page) -> None:
    best = study.best
    assert best is not None
    assert value("validation_accuracy", best.metrics["validation_accuracy"]) in page.text
    assert study.space.to_text(best.architecture) in page.text
    for part in ("Pareto front", "Parallel choices", "Importance", "Learning curves", "All trials"):
        assert part in page.text
    assert "no such thing" in page.text  # the reason of failed trials
    assert study.info["machine"]["system"] in page.text
    assert page.tags.count("h1") == 1


def test_every_trial_is_in_the_table(study: Study) -> None:
    html = report_html([study])
    body = html[html.index("<tbody>") :]
    rows = re.findall(r"<tr(?: class=best)?><td class='n' data-v='(\d+)'>", body)
    assert [int(number) for number in rows] == list(range(60))


def test_ids_are_not_taken_twice(study: Study) -> None:
    page = Page(report_html([study, study]))
    anchors = [v for t, n, v in page.attributes if n == "id" and t == "section"]
    assert len(anchors) == len(set(anchors)) == 2


EVIL = "</script><script>alert('1')</script> \" onload=x & <b>"


class Evil(Sum):
    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        if arch.values[0] == 1:
            return Measurement.failed(EVIL, Cost(1.0, 1, EVIL))
        found = super().evaluate(arch, budget, seed)
        return Measurement({**found.metrics, EVIL: 1.0}, Cost(1.0, 1, EVIL), curve=found.curve)


def test_everything_is_escaped() -> None:
    task = TableTask(f"t {EVIL}", Signature((3, 8, 8), 10), space="nasbench201")
    study = search(
        task, None, "random", 30, evaluator=Evil(), storage="memory://evil", name=f"n {EVIL}",
        command=f"c {EVIL} @title@ postgresql://me:secret@host/db",
    )  # fmt: skip
    study.record_final_test(EVIL, {EVIL: 0.5})
    html = report_html([study], title=EVIL)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "b" not in [t for t, n, _ in page.attributes if n == "onload"]
    assert not [n for _, n, _ in page.attributes if n.startswith("on")]
    assert page.text.count("alert('1')") > 10
    assert "secret" not in html
    assert "@title@" in page.text  # what is filled in is not a template again


def test_few_or_no_trials_are_said_in_a_sentence() -> None:
    text = Page(report_html([toy(3)])).text
    assert "Needs 10 complete trials; this study has 3." in text
    nothing = toy(3)
    nothing.trials.clear()
    assert "No trial has a result yet." in Page(report_html([nothing])).text
    with pytest.raises(InputError, match="report is empty"):
        report_html([])


def test_equal_values_are_no_obstacle() -> None:
    class Equal(Sum):
        def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Any:
            return Measurement({"validation_accuracy": 0.5})

    text = Page(report_html([toy(12, Equal())])).text
    assert "Every trial has the same value" in text


def test_a_long_study_makes_a_small_page() -> None:
    study = toy(30)
    study.trials[:] = [t for _ in range(1000) for t in study.trials]
    html = report_html([study])
    assert len(html) < 1_000_000
    assert "30,000" in html


@pytest.mark.parametrize("name", spaces.names())
def test_every_space_has_a_report(name: str) -> None:
    class Any_(Evaluator):
        def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Any:
            return Measurement({"validation_accuracy": sum(arch.values) / 100})

    task = TableTask("toy", Signature((3, 32, 32), 10), space=name)
    study = search(task, None, "random", 15, evaluator=Any_(), storage="memory://", name=name)
    assert "svg" in Page(report_html([study])).tags


def test_a_comparison_is_a_section() -> None:
    tasks = ["nasbench201/cifar10", "nasbench201/cifar100"]
    found = compare(["random", "local-search"], tasks, 5, 20)
    page = Page(report_html([toy()], comparisons=[found]))
    assert "Comparison of 2 methods on 2 tasks" in page.text
    assert page.text.count("local-search") >= 4
    assert "<svg" in report_html([], comparisons=[found])
    assert "One seed says nothing" not in page.text


def test_a_comparison_of_one_seed_says_what_it_cannot() -> None:
    found = compare(["random", "local-search"], ["nasbench201/cifar10"], 1, 1)
    page = Page(report_html([], comparisons=[found]))
    assert "budget: 1 trial on each task, with 1 seed. Lines" in page.text
    assert "One seed says nothing of others" in page.text
    assert "<h1>Comparison of methods</h1>" in report_html([], comparisons=[found])
    assert "<h1>Comparisons of methods</h1>" in report_html([], comparisons=[found, found])


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_report([toy()], tmp_path / "report.html")
    assert Page(path.read_text()).tags
    for bad in (tmp_path, tmp_path / "no" / "such.html"):
        with pytest.raises(InputError, match="accepted:"):
            write_report([toy()], bad)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


# Drawings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", spaces.names())
def test_items_of_a_drawing_do_not_overlap(name: str) -> None:
    space, rng = spaces.get(name), np.random.default_rng(0)
    for _ in range(25):
        layout = layered(space.graph(space.sample(rng)), lambda text: 7.0 * len(text))
        rows: dict[int, list[Any]] = {}
        for item in layout.items:
            rows.setdefault(item.layer, []).append(item)
            assert item.width / 2 <= item.x <= layout.width - item.width / 2
        for row in rows.values():
            row.sort(key=lambda item: item.x)
            for a, b in pairwise(row):
                assert b.x - a.x >= (a.width + b.width) / 2 + ITEM_GAP - 1e-6


def test_routes_go_down_and_pass_their_operation() -> None:
    graph = Graph(("a", "b", "c"), (("a", "b", "x"), ("a", "c", "y"), ("b", "c", "x")))
    layout = layered(graph, len)
    for route, (source, target, label) in zip(layout.routes, graph.edges, strict=True):
        items = [layout.items[i] for i in route]
        assert (items[0].label, items[-1].label) == (source, target)
        assert [i.label for i in items if i.kind == "operation"] == [label]
        assert [i.layer for i in items] == list(range(items[0].layer, items[-1].layer + 1))


def test_parts_without_a_common_edge_stand_side_by_side() -> None:
    wide = [("a", f"{i}", "an operation") for i in range(5)]
    narrow = [("b", "c", "x"), ("c", "d", "x")]
    graph = Graph(("a", "b", *(f"{i}" for i in range(5)), "c", "d"), (*wide, *narrow))
    layout = layered(graph, lambda text: 7.0 * len(text))
    sides: dict[str, list[float]] = {"a": [], "b": []}
    for route in layout.routes:
        for item in (layout.items[i] for i in route):
            ends = (item.x - item.width / 2, item.x + item.width / 2)
            sides[layout.items[route[0]].label if route[0] < 2 else "b"] += ends
    first, second = sorted(sides.values())
    assert min(second) - max(first) == pytest.approx(PART_GAP)


def test_every_operation_of_darts_has_a_colour_of_its_own_and_joins_have_none() -> None:
    space, rng = spaces.get("darts"), np.random.default_rng(0)
    drawn = "".join(standalone_drawing(space, space.sample(rng)) for _ in range(20))
    found = set(re.findall(r'class="operation (c\d)"><rect[^>]*/><text[^>]*>(\w+)<', drawn))
    assert len(found) == len(dict(found)) == 7
    assert "none" not in dict(found).values()
    assert re.findall(r'class="join"><rect[^>]*/><text[^>]*>(\w+)<', drawn).count("concat") > 20


def test_separated_is_the_least_squares_solution() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(1)
    for _ in range(5):
        wanted, gaps = rng.normal(size=5) * 10, rng.random(4) * 5
        found = np.array(separated(wanted.tolist(), gaps.tolist()))
        assert (np.diff(found) >= gaps - 1e-9).all()
        constraint = {"type": "ineq", "fun": lambda x, g=gaps: np.diff(x) - g}
        start = np.cumsum([0.0, *gaps])
        best = minimize(lambda x, w=wanted: ((x - w) ** 2).sum(), start, constraints=constraint)
        assert ((found - wanted) ** 2).sum() == pytest.approx(best.fun, rel=1e-5)


def test_graphs_with_odd_forms_are_drawn() -> None:
    assert draw_graph(Graph((), ())) == ""
    assert "lonely" in draw_graph(Graph(("lonely",), ()))
    assert "&lt;" in draw_graph(Graph(("<", "b"), (("<", "b", "&"),)))
    space = spaces.get("nasbench201")
    drawing = standalone_drawing(space, space.at(6111))
    assert drawing.startswith("<svg xmlns=")
    Page(drawing)


# Numbers -------------------------------------------------------------------------------------


def test_importance_finds_the_choice_that_matters() -> None:
    class First(Sum):
        def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Any:
            return Measurement({"validation_accuracy": float(arch.values[2])})

    study = toy(80, First())
    shares = importance(study.space, study.trials, study.objectives[0])
    assert next(iter(shares)) == study.space.choices[2].name
    assert shares[study.space.choices[2].name] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        (3, 97, (20, 40, 60, 80)),
        (5, 5, (4.8, 4.9, 5, 5.1, 5.2)),
        (0.9999995, 0.9999997, (0.9998, 0.9999, 1.0, 1.0001, 1.0002)),  # labels that fit
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert scale(low, high, 0, 100).ticks == pytest.approx(ticks)
    for metric in ("entropy", "validation_accuracy"):
        labels = [tick(metric, number) for number in ticks]
        assert len(set(labels)) == len(ticks), labels


def test_counts_have_whole_ticks_and_single_points_are_drawn() -> None:
    counts = chart("skips", "epochs", [Line("skips", [1.0, 2.0, 3.0], [1.0, 2.0, 2.0])])
    assert ">1</text>" in counts
    assert ">1.5</text>" not in counts
    assert 'class="line c0 alone"' not in counts
    assert 'class="line c0 alone"' in chart("curve", "epochs", [Line("trial 0", [4.0], [0.5])])


def test_the_accuracy_of_one_shot_searches_is_in_percent() -> None:
    space = spaces.get("nasbench201")
    curve = tuple({"skips": 1.0, "supernet_accuracy": 0.2 + 0.1 * e} for e in range(4))
    found = Measurement({"validation_accuracy": 0.5}, curve=curve, found=Found(space.at(0)))
    html = search_figures(space, [Trial(0, space.at(1), found, EPOCH, EPOCH, 0)])
    assert ">20%</text>" in html
    assert ">0.2</text>" not in html


def test_values_are_readable() -> None:
    assert [counted(n, "box", "boxes") for n in (0, 1, 2000)] == ["0 boxes", "1 box", "2,000 boxes"]
    assert value("validation_accuracy", 0.97123) == "97.12%"
    assert value("parameters", 101306.0) == "101,306"
    assert value("loss", 0.123456) == "0.1235"
    assert value("loss", math.nan) == "–"
    assert label_of("to postgresql://me:p%40ss@host/db now") == (
        "to postgresql://me:***@host/db now"
    )


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_sticks_out_in_a_browser(study: Study, tmp_path: Path, width: int) -> None:
    """The page itself never scrolls sideways, and its script sorts the table."""
    html = report_html([study])
    probe = (
        "<script>document.querySelectorAll('th button')[1].click();"
        "document.title=[document.documentElement.scrollWidth-innerWidth,"
        "[...document.querySelectorAll('.sortable tbody tr')].slice(0,3)"
        ".map(r=>Number(r.cells[1].dataset.v)).every((v,i,a)=>!i||a[i-1]<=v)].join()</script>"
    )
    path = tmp_path / "page.html"
    path.write_text(html.replace("</body>", f"{probe}</body>"))
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path}/profile", f"--window-size={width},2000",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"<title>(-?\d+),(\w+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= 0
    assert found[2] == "true"


class Priced(Sum):
    """Gives each cell a price that better cells have to pay: a high one, or a low one."""

    def __init__(self, cheap: bool) -> None:
        super().__init__()
        self.sign = 1.0 if cheap else -1.0

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        found = super().evaluate(arch, budget, seed)
        return replace(
            found, metrics={**found.metrics, "price": 50.0 + self.sign * sum(arch.values)}
        )


@pytest.mark.parametrize("cheap", [True, False])
def test_the_front_is_a_staircase_without_what_is_far_off(cheap: bool) -> None:
    objectives = (Objective(), Objective("price", not cheap))
    found = toy(40, Priced(cheap), objectives=objectives)
    far = replace(
        found.trials[0].measurement,
        metrics={"validation_accuracy": -30.0, "price": 0.0 if cheap else 900.0},
    )
    found.trials[0] = replace(found.trials[0], measurement=far)
    assert 0 in {t.number for t in found.front}
    html = report_html([found])
    card = html[html.index("Pareto front") :].partition("</figure>")[0]
    assert "Outside of the picture: 1 trial, 1 of the front." in card
    dots = {
        (float(x), float(y))
        for x, y in re.findall(r'class="dot strong" cx="([\d.]+)" cy="([\d.]+)"', card)
    }
    path = re.findall(r'<path class="line c1[^"]*" d="M([^"h]+)', card)[0]
    corners = [tuple(float(v) for v in p.split()) for p in path.split("L")]
    assert dots <= set(corners)
    assert len(dots) > 1
    for (x0, y0), (x1, y1) in pairwise(corners):
        assert x0 == x1 or y0 == y1
    for x, y in set(corners) - dots:  # the pixels of an inner corner: worse than two of the front
        assert any(x == a and y > b for a, b in dots)
        assert any(y == b and (x > a) == cheap for a, b in dots if a != x)


def test_headings_of_parallel_axes_are_inside_of_the_picture() -> None:
    space = spaces.get("darts-recurrent")  # short values under long names
    rng = np.random.default_rng(0)
    measured = [Measurement({"validation_accuracy": i / 10}) for i in range(4)]
    trials = [
        replace(toy(3).trials[0], architecture=space.sample(rng), measurement=m) for m in measured
    ]
    html = parallel_figure(space, trials, Objective())
    width = float(re.findall(r"viewBox='0 0 (\d+)", html)[0])
    heads = re.findall(r'<text class="label" x="([\d.]+)"[^>]*>([^<]+)<', html)
    for x, name in heads:
        assert 3.3 * len(name) <= float(x) <= width - 3.3 * len(name), name
