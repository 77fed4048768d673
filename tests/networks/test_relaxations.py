"""Relaxations by their formulas and laws; partial channels by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.networks import Form
from transnas.networks.relaxations import (
    Binarised,
    Mix,
    PathDropout,
    Sampled,
    Sigmoid,
    Softmax,
    Uniform,
    keep_mass,
)
from transnas.tasks import Signature

torch.set_num_threads(1)
LOGITS = torch.tensor([0.0, 1.0, -1.0, 0.5, -0.3], dtype=torch.float64)
GAPS = torch.tensor([0.0, -math.inf, -1.0, 0.5, -math.inf], dtype=torch.float64)
DRAWS = 100_000
LIMIT = {2: 13.82, 4: 18.47}
"""0.999 quantiles of chi-square by degrees of freedom."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    there = probabilities > 0
    assert float(counts[~there].sum()) == 0
    expected = DRAWS * probabilities[there]
    return float(((counts[there] - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("logits", [LOGITS, GAPS])
def test_samples_follow_their_law(logits: torch.Tensor) -> None:
    rows = logits.expand(DRAWS, 5)
    there = (logits > -math.inf).double()
    for relaxation, law in (
        (Sampled(generator()), logits.softmax(dim=0)),
        (Uniform(generator()), there / there.sum()),
        (Binarised(2, generator()), None),
    ):
        mix = relaxation(rows)
        assert set(mix.weights.flatten().tolist()) == {0.0, 1.0}
        assert bool((mix.weights.sum(dim=1) == 1).all())
        counts = mix.weights.sum(dim=0)
        if law is None:
            assert float(counts[there == 0].sum()) == 0
            assert {len(path) for path in mix.paths} == {2}
        else:
            assert chi_square(counts, law) < LIMIT[int(there.sum()) - 1]


def test_two_paths_follow_the_law_without_replacement() -> None:
    mix, p = Binarised(2, generator())(LOGITS.expand(DRAWS, 5)), LOGITS.softmax(dim=0)
    first_is_best = sum(path == (1, 3) for path in mix.paths) / DRAWS
    exact = float(p[1] * p[3] / (1 - p[1]) + p[3] * p[1] / (1 - p[3]))
    assert abs(first_is_best - exact) < 5 * math.sqrt(exact * (1 - exact) / DRAWS)
    both = torch.tensor([path == (1, 3) for path in mix.paths])
    opened = float(mix.weights[both, 1].mean())
    share = float(p[1] / (p[1] + p[3]))
    assert abs(opened - share) < 5 * math.sqrt(share * (1 - share) / int(both.sum()))


@pytest.mark.parametrize("paths", [2, 5])
def test_gate_gradients_are_those_of_the_formula(paths: int) -> None:
    logits = torch.randn(6, 5, generator=generator(), dtype=torch.float64).requires_grad_()
    by_gate = torch.randn(6, 5, generator=generator(1), dtype=torch.float64)
    mix = Binarised(paths, generator(2))(logits)
    (found,) = torch.autograd.grad((mix.weights * by_gate).sum(), logits)
    for row, path in enumerate(mix.paths):
        codes = list(path)
        q, g = logits.detach()[row, codes].softmax(dim=0), by_gate[row, codes]
        expected = torch.zeros(5, dtype=torch.float64)
        expected[codes] = q * g - q * (q * g).sum()
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)


def test_mass_of_updated_paths_is_kept() -> None:
    before = torch.randn(4, 5, generator=generator(), dtype=torch.float64)
    after = before.clone()
    paths = ((0, 3), (1, 2), (2, 4), (0, 1))
    for row, path in zip(after, paths, strict=True):
        row[list(path)] += torch.randn(2, generator=generator(1), dtype=torch.float64)
    moved = after.clone()
    keep_mass(after, before, paths)
    old, new = before.softmax(dim=1), after.softmax(dim=1)
    for row, (one, two) in enumerate(paths):
        others = [c for c in range(5) if c not in (one, two)]
        torch.testing.assert_close(new[row, others], old[row, others], rtol=0, atol=1e-12)
        assert float(after[row, one] - after[row, two]) == pytest.approx(
            float(moved[row, one] - moved[row, two]), abs=1e-12
        )


def test_path_dropout_drops_all_with_its_rate() -> None:
    rate = 0.3
    for logits in (LOGITS, GAPS):
        k = int((logits > -math.inf).sum())
        mix = PathDropout(rate, generator())(logits.expand(DRAWS, 5))
        assert float(mix.weights[:, logits == -math.inf].sum()) == 0
        kept = mix.weights.sum(dim=1)
        for found, exact in (
            (float((kept == 0).double().mean()), rate),
            (float(kept.mean()) / k, 1 - rate ** (1 / k)),
        ):
            assert abs(found - exact) < 5 * math.sqrt(exact * (1 - exact) / DRAWS)
        assert [len(path) for path in mix.paths[:50]] == kept[:50].tolist()
    assert bool((PathDropout(0.0)(LOGITS[None]).weights == 1).all())


def test_soft_relaxations_give_gaps_no_weight_and_no_gradient() -> None:
    for relaxation in (Softmax(), Sigmoid()):
        logits = GAPS.expand(3, 5).clone().requires_grad_()
        weights = relaxation(logits).weights
        assert float(weights.detach()[:, [1, 4]].abs().sum()) == 0
        (gradient,) = torch.autograd.grad((weights * torch.arange(5)).sum(), logits)
        assert float(gradient[:, [1, 4]].abs().sum()) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="rate is 1"):
        PathDropout(1.0)
    with pytest.raises(InputError, match="paths is 1"):
        Binarised(1)


# Partial channels and edge normalisation ------------------------------------------------------


def test_partial_darts_has_the_published_size() -> None:
    form = Form(partial=4, normalise_edges=True)
    with torch.device("meta"):
        net = networks.supernet(
            spaces.get("darts"),
            Signature((3, 32, 32), 10),
            Softmax(),
            form,
            channels=16,
            layers=8,
        )
    assert sum(p.numel() for p in net.shared_weights()) == 299_578
    assert [p.numel() for p in net.architecture_parameters()] == [224, 28]


@pytest.mark.parametrize("reduces", [False, True])
def test_partial_cell_equals_the_edge_by_edge_reference(reduces: bool) -> None:
    parts, channels, size = 2, 4, (9, 7)
    torch.manual_seed(0)
    net = networks.supernet(
        spaces.get("darts"),
        Signature((3, *size), 5),
        Softmax(),
        Form(partial=parts, normalise_edges=True, backend="torch"),
        channels=channels,
        layers=3,
    ).double()
    nn.init.normal_(net.logits)
    nn.init.normal_(net.edge_logits)
    cell = net.network.cells[1 if reduces else 0]
    channels *= 2 if reduces else 1
    older = torch.randn(4, cell.older.conv.in_channels, *size, dtype=torch.float64)
    newer = torch.randn(4, cell.newer.conv.in_channels, *size, dtype=torch.float64)
    alpha, beta, width = net.logits.softmax(dim=1), net.edge_logits, channels // parts
    states, edge = [cell.older(older), cell.newer(newer)], cell.first_row
    for node in range(2, 6):
        total, share = 0, beta[edge : edge + node].softmax(dim=0)
        for source in range(node):
            x, held = states[source], cell.sources[source]
            mixed = 0
            for code, name in enumerate(net.darts.operations):
                own = held.shared if name in held.shared else held.edges[str(edge + source)]
                mixed = mixed + alpha[edge + source, code] * own[name](x[:, :width])
            rest = x[:, width:]
            if reduces and source < 2:
                rest = F.max_pool2d(F.pad(rest, (0, 1, 0, 1), value=-math.inf), 2, 2)
                rest = rest[:, :, : mixed.shape[2], : mixed.shape[3]]
            joined = torch.cat([mixed, rest], dim=1)
            order = [g * width + i for i in range(width) for g in range(parts)]
            total = total + share[source] * joined[:, order]
        states.append(total)
        edge += node
    expected = torch.cat(states[2:], dim=1)
    found = cell(older, newer, net.mix())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_edges_that_an_architecture_lacks_bring_nothing_past_themselves() -> None:
    torch.manual_seed(0)
    space, form = spaces.get("darts"), Form(partial=2, normalise_edges=True, backend="torch")
    net = networks.supernet(space, Signature((3, 8, 8), 5), Softmax(), form, channels=4, layers=3)
    path = net.path(space.sample(np.random.default_rng(0)))
    there = torch.tensor([float(len(codes)) for codes in path.paths])
    assert there.sum() == 16
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(net(x, path), net(x, Mix(path.weights, None, there)))


def test_edge_shares_sum_to_one_a_node_and_decide_the_derived_cell() -> None:
    net = networks.supernet(
        spaces.get("darts"),
        Signature((3, 9, 7), 5),
        Softmax(),
        Form(normalise_edges=True),
        channels=4,
        layers=3,
    )
    mix = net.mix()
    assert isinstance(mix, Mix)
    sums = [float(part.sum().detach()) for part in torch.split(mix.edges, [2, 3, 4, 5] * 2)]
    assert sums == pytest.approx([1.0] * 8)
    torch.testing.assert_close(mix.weights.sum(dim=1), mix.edges)
    nn.init.zeros_(net.logits)
    with torch.no_grad():
        net.edge_logits.copy_(torch.arange(28.0))
    blocks = net.darts.cells(net.derive())["normal"].blocks
    assert [tuple(s for s, _ in b.pairs) for b in blocks] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_drops_lose_samples_of_operations_and_values_of_skips() -> None:
    net = networks.supernet(
        spaces.get("darts-s2"),
        Signature((3, 9, 7), 5),
        Softmax(),
        Form(backend="torch"),
        channels=4,
        layers=3,
    ).double()
    edges = net.network.cells[0].sources[0]
    mix, x = net.mix(), torch.randn(2000, 4, 3, 3, dtype=torch.float64)
    row = edges.rows[0]
    skip, conv = mix.weights[row].detach()
    own = conv * edges.edges[str(row)]["sep_conv_3x3"](x).detach()

    net.drop(path=0.4)
    kept = (dict(edges(x, mix))[row].detach() - skip * x) / own
    assert float((kept - kept[:, :1, :1, :1]).abs().max()) < 1e-6  # whole samples
    one_each = kept[:, 0, 0, 0]
    assert bool(((one_each.abs() < 1e-6) | ((one_each - 1 / 0.6).abs() < 1e-6)).all())
    assert abs(float(one_each.mean()) - 1.0) < 5 * math.sqrt(0.4 / 0.6 / 2000)

    net.drop(skip=0.3)
    kept = (dict(edges(x, mix))[row].detach() - own) / (skip * x)
    assert bool(((kept.abs() < 1e-6) | ((kept - 1 / 0.7).abs() < 1e-6)).all())
    assert abs(float(kept.mean()) - 1.0) < 5 * math.sqrt(0.3 / 0.7 / kept.numel())

    net.eval()
    torch.testing.assert_close(dict(edges(x, mix))[row].detach(), skip * x + own)
