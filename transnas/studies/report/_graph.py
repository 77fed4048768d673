"""An architecture drawn as SVG: nodes, operations coloured by kind, smooth edges."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise

from transnas.spaces import Architecture, Graph, Space
from transnas.studies.report._charts import COLOURS
from transnas.studies.report._format import escape
from transnas.studies.report._layout import NODE_HEIGHT, Item, Layout, layered

__all__ = ["draw_architecture", "draw_graph", "standalone_drawing"]

_CHARACTER = 7.1
"""Width of an average character at the font size of the drawing; generous, so labels fit."""
_JOINS = ("concat", "mean")
"""Labels of edges that only gather nodes into the output; they have no colour."""
_TALL = 400.0
"""Lower drawings are shown larger, so that they fill their card."""


def draw_architecture(space: Space, arch: Architecture) -> str:
    """Return `arch` as an SVG element; the same operation has one colour all over a space."""
    return draw_graph(space.graph(arch), [v for c in space.choices for v in c.values])


def standalone_drawing(space: Space, arch: Architecture) -> str:
    """Return `arch` as the text of an SVG file."""
    style = (files("transnas.studies.report") / "page.css").read_text(encoding="utf-8")
    head = '<svg xmlns="http://www.w3.org/2000/svg" class="graph"'
    drawing = draw_architecture(space, arch).replace('<svg class="graph"', head, 1)
    return drawing.replace("<defs>", f"<style>{style}</style><defs>", 1)


def draw_graph(graph: Graph, operations: Sequence[str] = ()) -> str:
    """Return `graph` as an SVG element; `operations` fixes the order of colours."""
    if not graph.nodes:
        return ""
    layout = layered(graph, lambda text: _CHARACTER * len(text))
    named = [v for v in operations if not v.isdigit()]  # numbers say which node, or how many
    order = list(dict.fromkeys([*named, *(label for *_, label in graph.edges)]))
    colours = {label: i % COLOURS for i, label in enumerate(order)}
    scale = 1.4 if layout.height < _TALL else 1.0
    body = "".join(_route(layout, route) for route in layout.routes)
    body += "".join(_item(item, colours) for item in layout.items)
    return (
        f'<svg class="graph" viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" '
        f'style="max-width:{scale * layout.width:.0f}px" role="img" aria-label="architecture">'
        f"{_ARROW}{body}</svg>"
    )


_ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0.5L8 4L0 7.5z"/>'
    "</marker></defs>"
)


def _route(layout: Layout, route: Sequence[int]) -> str:
    """Return an edge as one curve, vertical where it meets each item."""
    places = [(layout.items[i].x, layout.items[i].y) for i in route]
    places[0] = (places[0][0], places[0][1] + NODE_HEIGHT / 2)
    places[-1] = (places[-1][0], places[-1][1] - NODE_HEIGHT / 2 - 1)
    path = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(places):
        middle = (y0 + y1) / 2
        path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return f'<path class="edge" marker-end="url(#arrow)" d="{path}"/>'


def _item(item: Item, colours: dict[str, int]) -> str:
    if item.kind == "bend":
        return ""
    css = "node" if item.kind == "node" else f"operation c{colours[item.label]}"
    css = "join" if item.kind == "operation" and item.label in _JOINS else css
    radius = NODE_HEIGHT / 2 if item.kind == "node" else 5
    return (
        f'<g class="{css}"><rect x="{item.x - item.width / 2:.1f}" '
        f'y="{item.y - NODE_HEIGHT / 2:.1f}" width="{item.width:.1f}" height="{NODE_HEIGHT}" '
        f'rx="{radius}"/><text x="{item.x:.1f}" y="{item.y + 4:.1f}" text-anchor="middle">'
        f"{escape(item.label)}</text></g>"
    )
