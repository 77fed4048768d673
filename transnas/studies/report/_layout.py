"""A layered layout (Sugiyama's method) of an architecture's graph, from top to bottom.

Each operation becomes an item of its own between the nodes it joins, so its label has room; long
edges pass through bends. Layers by longest path, order by barycentres, and positions by least
squares under the order and the widths, so that nothing overlaps. Parts without a common edge, such
as a network's two cells, stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from transnas.spaces import Graph

__all__ = ["Item", "Layout", "layered", "separated"]

NODE_HEIGHT, LAYER_GAP, ITEM_GAP, PART_GAP = 26.0, 20.0, 12.0, 48.0
_SWEEPS = 12
_STRAIGHT = 6.0


@dataclass(slots=True)
class Item:
    """Something with a place: a node, an operation, or a bend of a long edge."""

    kind: Literal["node", "operation", "bend"]
    label: str
    layer: int
    width: float
    x: float = 0.0

    @property
    def y(self) -> float:
        """Return the middle of the item's layer."""
        return NODE_HEIGHT / 2 + 2 + self.layer * (NODE_HEIGHT + LAYER_GAP)


@dataclass(frozen=True, slots=True)
class Layout:
    """Items with places, and each edge as the items it passes from source to target."""

    items: tuple[Item, ...]
    routes: tuple[tuple[int, ...], ...]
    width: float
    height: float


def layered(graph: Graph, text_width: Callable[[str], float]) -> Layout:
    """Return places for the nodes and operations of `graph`; `text_width` measures labels."""
    items, routes = _items(graph, text_width)
    layers: list[list[int]] = [[] for _ in range(1 + max(item.layer for item in items))]
    for i, item in enumerate(items):
        layers[item.layer].append(i)
    links: list[tuple[list[int], list[int]]] = [([], []) for _ in items]
    for route in routes:
        for above, below in pairwise(route):
            links[above][1].append(below)
            links[below][0].append(above)
    _order(layers, links, routes)
    _place(items, layers, links)
    _pack(items, routes)
    left = min(item.x - item.width / 2 for item in items) - 2
    for item in items:
        item.x -= left
    width = max(item.x + item.width / 2 for item in items) + 2
    height = max(item.y for item in items) + NODE_HEIGHT / 2 + 2
    return Layout(tuple(items), tuple(map(tuple, routes)), width, height)


def _items(graph: Graph, text_width: Callable[[str], float]) -> tuple[list[Item], list[list[int]]]:
    """Return nodes, operations and bends with their layers, and the routes through them."""
    layer = dict.fromkeys(graph.nodes, 0)
    for node in graph.nodes:
        for source, target, _ in graph.edges:
            if source == node:
                layer[target] = max(layer[target], layer[source] + 2)
    items = [Item("node", n, layer[n], text_width(n) + 22) for n in graph.nodes]
    number = {name: i for i, name in enumerate(graph.nodes)}
    routes = []
    for source, target, label in graph.edges:
        middle = (layer[source] + layer[target]) // 2
        route = [number[source]]
        for at in range(layer[source] + 1, layer[target]):
            if at == middle:
                items.append(Item("operation", label, at, text_width(label) + 18))
            else:
                items.append(Item("bend", "", at, 6.0))
            route.append(len(items) - 1)
        routes.append([*route, number[target]])
    return items, routes


def _order(
    layers: list[list[int]],
    links: Sequence[tuple[list[int], list[int]]],
    routes: Sequence[Sequence[int]],
) -> None:
    """Sort each layer by barycentres, down and up in turn; keep the order with least crossings."""
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers, routes)
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for layer in layers if side == 0 else reversed(layers):
            position = {i: p for row in layers for p, i in enumerate(row)}
            middle = {i: _mean([position[n] for n in links[i][side]], position[i]) for i in layer}
            layer.sort(key=lambda i: middle[i])
        crossings = _crossings(layers, routes)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(layers: Sequence[Sequence[int]], routes: Sequence[Sequence[int]]) -> int:
    position = {i: (row, p) for row, layer in enumerate(layers) for p, i in enumerate(layer)}
    steps: dict[int, list[tuple[int, int]]] = {}
    for route in routes:
        for above, below in pairwise(route):
            row, start = position[above]
            steps.setdefault(row, []).append((start, position[below][1]))
    return sum(
        (a - c) * (b - d) < 0
        for pairs in steps.values()
        for i, (a, b) in enumerate(pairs)
        for c, d in pairs[:i]
    )


def _place(
    items: Sequence[Item],
    layers: Sequence[Sequence[int]],
    links: Sequence[tuple[list[int], list[int]]],
) -> None:
    """Move each layer towards the mean of its neighbours, widths and order respected.

    Links of bends count more, so that long edges run straight.
    """

    def wanted(i: int) -> float:
        near = (*links[i][0], *links[i][1])
        weights = [_STRAIGHT if "bend" in (items[i].kind, items[n].kind) else 1.0 for n in near]
        total = sum(w * items[n].x for w, n in zip(weights, near, strict=True))
        return total / sum(weights) if near else items[i].x

    for sweep in range(_SWEEPS * 4):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            gaps = [(items[a].width + items[b].width) / 2 + ITEM_GAP for a, b in pairwise(layer)]
            for i, x in zip(layer, separated([wanted(i) for i in layer], gaps), strict=True):
                items[i].x = x


def _pack(items: Sequence[Item], routes: Sequence[Sequence[int]]) -> None:
    """Move parts without a common edge next to each other, in their order."""
    part = list(range(len(items)))
    for route in routes:
        joined = {part[i] for i in route}
        part = [min(joined) if p in joined else p for p in part]
    groups: dict[int, list[Item]] = {}
    for p, item in zip(part, items, strict=True):
        groups.setdefault(p, []).append(item)
    end = -PART_GAP
    for group in sorted(groups.values(), key=lambda group: min(item.x for item in group)):
        shift = end + PART_GAP - min(item.x - item.width / 2 for item in group)
        for item in group:
            item.x += shift
        end = max(item.x + item.width / 2 for item in group)


def separated(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return the x closest to `wanted` (least squares) with x[i+1] - x[i] >= gaps[i].

    With the gaps subtracted this is isotonic regression: neighbours in the wrong order are pooled
    at their mean.
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, int]] = []
    for target, offset in zip(wanted, offsets, strict=True):
        mean, count = target - offset, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean = (before * members + mean * count) / (members + count)
            count += members
        pools.append((mean, count))
    flat = [mean for mean, count in pools for _ in range(count)]
    return [x + offset for x, offset in zip(flat, offsets, strict=True)]


def _mean(numbers: Sequence[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default
