"""What each one-shot method adds: its rules, costs and estimators, against independent oracles."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oneshot_toys import BEST, Chain, ChainSupernet, brighter, quick
from torch import Tensor
from torch.utils.data import TensorDataset

from transnas import InputError, networks, oneshot, spaces
from transnas.evaluation._counting import flops
from transnas.evaluation.training import workplace
from transnas.networks.nasbench201 import MixedCell
from transnas.networks.relaxations import Mix, Softmax
from transnas.oneshot._costs import expected_cost, flop_costs, parameter_costs, table_costs
from transnas.oneshot._hessian import dominant_eigenvalue, hessian_product
from transnas.oneshot._indicators import (
    architecture_indicators,
    mean_entropy,
    operations,
    parameters,
    skip_rows,
    skip_share,
)
from transnas.oneshot._perturbation import perturbed_shares
from transnas.oneshot._ranking import recalibrate, shared_accuracy
from transnas.oneshot.bayesnas import _PRUNED, dependent, reweighted
from transnas.oneshot.enas import ENAS, ENASSettings, skip_divergence
from transnas.oneshot.p_darts import skip_dropout
from transnas.oneshot.proxylessnas import drawn_shares, penalised
from transnas.oneshot.robust_darts import rises
from transnas.spaces import Architecture
from transnas.spaces._cells import Block
from transnas.spaces.darts import DARTS
from transnas.strategies._lstm_policy import LSTMPolicy, bits, chosen_log_policy
from transnas.tasks import DataTask, Signature

torch.set_num_threads(1)
SIGNATURE = Signature((1, 8, 8), 4)


def toy(method: str, **changes: Any) -> Any:
    """Return a search on the toy before its first step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        kind = oneshot.get(method)
        return kind(brighter(), Chain(), quick(method, **changes), {}, 0, workplace("cpu"))


def nasbench201(**changes: Any) -> Any:
    torch.manual_seed(0)
    return networks.supernet(
        spaces.get("nasbench201"), SIGNATURE, Softmax(), channels=4, cells=1, **changes
    )


PAIRS = {"filters": 2, "cells": 1, "stem_channels": 3}
PROXYLESS = {"stem": 4, "first": 4, "widths": (4, 4, 6, 6, 8, 8), "last": 8, "stem_stride": 1,
             "strides": (1, 2, 1, 1, 2, 1)}  # fmt: skip
SPACES: dict[str, dict[str, Any]] = {
    "chain": {},
    "darts-recurrent": {"hidden": 4},
    "enas-macro": {"channels": 4},
    "enas-micro": {"channels": 2, "layers": 3},
    "nasnet": PAIRS,
    "pnas": PAIRS,
    "proxyless": PROXYLESS,
}
"""Spaces with rows of different kinds, and small skeletons."""


@functools.cache
def small(name: str) -> networks.Supernet:
    """Return a small supernet that nobody changes."""
    signature = Signature((5,), 11, "language") if name.endswith("recurrent") else SIGNATURE
    return networks.supernet(spaces.get(name), signature, Softmax(), **SPACES[name])


# Costs ------------------------------------------------------------------------------------------


def test_expected_cost_is_the_mean_cost_of_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(6, 5, generator=generator).softmax(1)
    costs = parameter_costs(nasbench201())
    drawn = torch.multinomial(p, 100_000, replacement=True, generator=generator)
    sampled = costs.gather(1, drawn).sum(0)
    error = 4 * float(sampled.std()) / math.sqrt(len(sampled))
    assert float(sampled.mean()) == pytest.approx(float(expected_cost(p, costs)), abs=error)


def test_parameter_costs_are_those_of_discrete_networks() -> None:
    space, net = spaces.get("nasbench201"), nasbench201()
    costs = parameter_costs(net)

    def size(text: str) -> int:
        arch = space.from_text(text)
        return sum(p.numel() for p in networks.build(space, arch, SIGNATURE, channels=4, cells=1)
                   .parameters() if p.ndim > 1)  # fmt: skip

    def text(operation: str) -> str:
        return f"|{operation}~0|+|none~0|none~1|+|none~0|none~1|none~2|"

    ratio = float(costs[0, 2] / costs[0, 3])
    empty = size(text("none"))
    assert ratio == pytest.approx(
        (size(text("nor_conv_1x1")) - empty) / (size(text("nor_conv_3x3")) - empty)
    )
    assert float(costs[0, 3]) == size(text("nor_conv_3x3")) - empty
    assert costs[:, [0, 1, 4]].count_nonzero() == 0


@pytest.mark.parametrize("name", ["darts", "nasbench201", "enas-macro", "enas-micro", "proxyless"])
def test_flop_costs_are_those_of_discrete_networks(name: str) -> None:
    """Two networks that differ in operations differ in multiply-adds as their costs do."""
    skeletons = {**SPACES, "nasbench201": {"channels": 4, "cells": 1},
                 "darts": {"channels": 4, "layers": 3}}  # fmt: skip
    space, skeleton = spaces.get(name), skeletons[name]
    net = networks.supernet(space, SIGNATURE, Softmax(), **skeleton)
    state = torch.get_rng_state()
    costs = flop_costs(net)
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_pre_hooks for m in net.modules())
    rng = np.random.default_rng(0)
    archs = [space.sample(rng)]
    archs += [a for a in space.neighbours(archs[0]) if _same_edges(a, archs[0])][::7][:3]
    assert len(archs) > 2
    counted = [
        flops(networks.build(space, arch, SIGNATURE, **skeleton), SIGNATURE)
        - sum(float(costs[r, c]) for r, c in enumerate(net.codes(arch)) if c is not None)
        for arch in archs
    ]
    assert counted == [counted[0]] * len(archs)
    assert counted[0] > 0


def _same_edges(one: Architecture, other: Architecture) -> bool:
    """Whether two architectures differ in operations alone."""
    space = spaces.get(one.space)
    pairs = enumerate(zip(one.values, other.values, strict=True))
    return all(a == b for d, (a, b) in pairs if space.referents(d))


def test_skips_of_the_normal_cell_count() -> None:
    """GDAS's published cells have four skips of eight in the normal cell, and none in the other."""
    space = spaces.get("darts")
    assert isinstance(space, DARTS)

    def blocks(text: str) -> list[Block]:
        edges = [(int(word[-1]), word[:-2]) for word in text.split()]
        return [Block((a, b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    normal = ("skip_connect-0 skip_connect-1 skip_connect-0 sep_conv_5x5-2 "
              "skip_connect-0 sep_conv_3x3-3 sep_conv_3x3-3 sep_conv_5x5-4")  # fmt: skip
    reduce = ("sep_conv_5x5-0 sep_conv_3x3-1 sep_conv_5x5-1 sep_conv_5x5-2 "
              "sep_conv_3x3-1 dil_conv_5x5-2 sep_conv_5x5-0 sep_conv_5x5-1")  # fmt: skip
    cells = {"normal": blocks(normal), "reduce": blocks(reduce)}
    assert skip_share(space, space.from_blocks(cells)) == 0.5
    cells = {"normal": cells["reduce"], "reduce": cells["normal"]}
    assert skip_share(space, space.from_blocks(cells)) == 0.0
    plain = spaces.get("nasbench201")
    assert skip_share(plain, plain.architecture((1, 1, 0, 3, 2, 4))) == pytest.approx(1 / 3)
    recurrent = spaces.get("darts-recurrent")
    assert skip_share(recurrent, recurrent.sample(np.random.default_rng(0))) == 0.0


def test_costs_that_would_not_count_are_refused() -> None:
    for method, wrong in (
        ("snas", {"cost": "flops"}),
        ("proxylessnas", {"cost": "flops"}),
        ("proxylessnas", {"cost": "flops", "reference": 9.0, "table": "a.json"}),
    ):
        with pytest.raises(InputError, match=r"'cost' is 'flops' with .*; accepted: param"):
            quick(method, **wrong)
    with pytest.raises(InputError, match="'cost' is 'latency'; accepted: 'parameters' or 'flops'"):
        quick("snas", cost="latency", resource=1.0)


def test_a_table_of_latencies_has_all_operations(tmp_path: Path) -> None:
    net = nasbench201()
    table = {name: float(i) for i, name in enumerate(net.space.choices[0].values)}
    assert table_costs(net, table).tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]] * 6
    del table["none"]
    with pytest.raises(InputError, match="lacks operation 'none'"):
        table_costs(net, table)
    for wrong in ([1], {"none": -1}, {"none": math.nan}):
        (tmp_path / "bad.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="not readable"):
            toy("proxylessnas", table=str(tmp_path / "bad.json"))


def test_latency_enters_the_loss_as_published() -> None:
    loss, expected = torch.tensor(2.0), torch.tensor(100.0)
    added = penalised(loss, expected, 80.0, "add", 0.5)
    assert float(added) == pytest.approx(2.0 + 0.5 * 20 / 80)
    multiplied = penalised(loss, expected, 80.0, "multiply", 0.2)
    assert float(multiplied) == pytest.approx(0.4 * (math.log(100) / math.log(80)) ** 0.3)


def test_dearer_architectures_have_larger_losses() -> None:
    costs = parameter_costs(nasbench201())
    for penalty, reference in (("multiply", 1.5), ("multiply", 1e4), ("add", 0.3), ("add", 1e4)):
        losses = []
        for code in (1, 2, 3):  # skip_connect, nor_conv_1x1, nor_conv_3x3
            shares = torch.full((6, 5), 0.02)
            shares[:, code] = 0.92
            cost = expected_cost(shares, costs)
            losses.append(float(penalised(torch.tensor(1.0), cost, reference, penalty, 0.2)))
        assert losses[0] < losses[1] < losses[2]
    nothing = torch.zeros((), requires_grad=True)
    (gradient,) = torch.autograd.grad(
        penalised(torch.tensor(1.0), nothing, 80.0, "multiply", 0.2), nothing
    )
    assert math.isfinite(gradient)
    with pytest.raises(InputError, match=r"reference is 0\.3, .* accepted with penalty 'multiply'"):
        quick("proxylessnas", reference=0.3)


@pytest.mark.parametrize("name", ["proxyless", "enas-macro", "enas-micro", "pnas"])
def test_costs_are_found_in_supernets_of_all_kinds(name: str) -> None:
    """Differences of costs are those of the discrete networks, where the rest stays the same."""
    space, net = spaces.get(name), small(name)
    costs = parameter_costs(net)
    rng = np.random.default_rng(0)
    arch = space.sample(rng)
    for choice, values in enumerate(space.choices):
        if not any(word in values.name for word in ("operation", "stage")) or choice % 7:
            continue
        sizes, found = [], []
        for code in range(len(values.values)):
            other = space.architecture([*arch.values[:choice], code, *arch.values[choice + 1 :]])
            built = networks.build(space, other, SIGNATURE, **SPACES[name])
            sizes.append(sum(p.numel() for p in built.parameters() if p.ndim > 1))
            found.append(sum(int(costs[r, c]) for r, c in enumerate(net.codes(other))))  # type: ignore[index]
        assert np.ptp(sizes) > 0
        assert np.ptp(np.subtract(sizes, found)) == 0


def test_spaces_whose_operations_share_weights_have_no_costs() -> None:
    for name in ("chain", "darts-recurrent"):
        with pytest.raises(InputError, match=f"operations of space '{name}' have no weights"):
            parameter_costs(small(name))


def test_a_table_may_leave_out_what_a_row_does_not_have() -> None:
    net = small("proxyless")
    table = {word: float(i) for i, word in enumerate(net.space.choices[1].values)}
    costs = table_costs(net, table)
    assert costs[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0]
    assert costs[1].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_expected_latency_moves_drawn_paths_only() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, generator=generator).requires_grad_()
    paths = [(0, 1), (2, 5), (3, 4), (1, 2), (0, 5)]
    costs = torch.rand(5, 6, generator=generator)
    expected = expected_cost(drawn_shares(logits, paths), costs)
    p = logits.detach().softmax(1)
    assert float(expected.detach()) == pytest.approx(float((p * costs).sum()))
    (gradient,) = torch.autograd.grad(expected, logits)
    for row, (one, other) in enumerate(paths):
        assert gradient[row].nonzero().flatten().tolist() == [one, other]
        assert bool(gradient[row, one] > 0) == bool(costs[row, one] > costs[row, other])


# Data -------------------------------------------------------------------------------------------


def sorted_by_class(count: int = 600) -> DataTask:
    """Return a task of two classes whose splits hold one after the other, as folders do."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) * 2 // count
    images = torch.randn(count, 1, 8, 8, generator=generator) + labels[:, None, None, None]
    split = TensorDataset(images, labels)
    return DataTask.from_datasets("sorted", split, split)


def test_a_few_batches_have_all_classes_though_splits_are_sorted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind, task = oneshot.get("rs-ws"), sorted_by_class()
    search = kind(task, spaces.get("nasbench201"), kind.Settings(batch_size=16),
                  {"channels": 2, "cells": 1}, 0, workplace("cpu"))  # fmt: skip
    batches = list(search.checks())
    assert 0.3 < float(batches[0][1].float().mean()) < 0.7
    seen = torch.cat([images for images, _ in batches]).flatten(1)
    everything = torch.stack([task.validation[i][0] for i in range(600)]).flatten(1)
    assert {tuple(row) for row in seen.tolist()} == {tuple(row) for row in everything.tolist()}
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, search.checks(), strict=True))

    labels: list[Tensor] = []

    def watched(network: Any, given: Any) -> None:
        labels.extend(targets for _, targets in given)
        recalibrate(network, given)

    monkeypatch.setattr("transnas.oneshot._ranking.recalibrate", watched)
    shared_accuracy(search, search.space.sample(np.random.default_rng(0)), recalibrated=True)
    assert 0.4 < float(torch.cat(labels).float().mean()) < 0.6


# Indicators -------------------------------------------------------------------------------------


def chosen_operations(space: spaces.Space, arch: spaces.Architecture) -> list[str]:
    """Return the values of the choices of operations, and of no others."""
    return [
        choice.values[code]
        for choice, code in zip(space.choices, arch.values, strict=True)
        if not any(word in choice.name for word in ("input", "combiner", "reads"))
    ]


@pytest.mark.parametrize("name", list(SPACES))
def test_indicators_name_what_an_architecture_does(name: str) -> None:
    space, net = spaces.get(name), small(name)
    for seed in range(3):
        arch = space.sample(np.random.default_rng(seed))
        words = chosen_operations(space, arch)
        parametric = [w for w in words if "conv" in w or w.startswith(("sep", "mb"))]
        expected = {"skips": float(words.count("skip_connect"))}
        if not name.endswith("recurrent") and name != "chain":
            expected["parametric"] = float(len(parametric))
        assert architecture_indicators(net, arch) == expected
        kinds = getattr(space, "kinds", ("cell",))
        normal = words[: len(words) // len(kinds)]
        skips = skip_rows(net, arch)
        assert len(skips) == normal.count("skip_connect")
        for row, code in skips.items():
            assert net.codes(arch)[row] == code


def test_entropy_is_one_where_what_is_there_has_equal_shares() -> None:
    shares = torch.zeros(6, 8)
    shares[:3, :3] = 0.1
    shares[3:, 2:7] = 0.2
    assert mean_entropy(shares) == pytest.approx(1.0)
    shares[0] = torch.eye(8)[0]  # a row without a choice
    assert mean_entropy(shares) == pytest.approx(1.0)
    shares[1] = torch.tensor([0.9, 0.1] + 6 * [0.0])
    two = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert mean_entropy(shares) == pytest.approx((4 + two) / 5)


@pytest.mark.parametrize("name", ["enas-micro", "enas-macro", "proxyless", "chain"])
@pytest.mark.parametrize("method", ["darts-plus", "p-darts", "bayesnas"])
def test_rules_about_operations_run_on_every_kind_of_rows(method: str, name: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(4, 1, 4, 4), torch.arange(4) // 2
    halves = (TensorDataset(images[i::2], labels[i::2]) for i in (0, 1))
    task, kind = DataTask.from_datasets("few", *halves), oneshot.get(method)
    settings = quick(method, batch_size=2, skips=1)
    search = kind(task, spaces.get(name), settings, SPACES[name], 0, workplace("cpu"))
    with torch.no_grad():  # so that most of what can skip does
        for row, code, operation in operations(search.net):
            search.net.logits[row, code] += 3.0 * ("skip" in operation.name)
    search.train_step(search.training.next())
    search.end_epoch()
    search.space.validate(search.present())
    assert 0.0 < mean_entropy(search.shares()) <= 1.0
    if method == "p-darts":
        assert len(skip_rows(search.net, search.present())) <= 1


def test_a_ranking_of_operations_needs_weights() -> None:
    kind = oneshot.get("darts-plus")
    settings = kind.Settings(criterion="ranking")  # type: ignore[call-arg]
    with pytest.raises(InputError, match="no operation of space 'chain' has weights of its own"):
        kind(brighter(), spaces.get("chain"), settings, {}, 0, workplace("cpu"))


def test_operations_that_compute_nothing_have_no_switch() -> None:
    for name in ("proxyless", "chain", "enas-macro", "darts-recurrent"):
        net = small(name)
        absent = {op.name for _, _, op in operations(net)} & {"none", "zero"}
        assert len(absent) == 1
        assert all(parameters(op) == 0 for _, _, op in operations(net) if op.name in absent)


# Rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [0.0, 4.0])
def test_a_step_on_two_paths_leaves_the_probability_of_others(
    reference: float, tmp_path: Path
) -> None:
    (table := tmp_path / "table.json").write_text('{"noisy": 5, "skip_keep": 3, "none": 9}')
    search = toy("proxylessnas", logits_learning_rate=0.5, table=str(table), reference=reference)
    search.epoch = 100
    search.begin_epoch()
    before = search.net.shares()
    search.gates_step(search.held_out.next())
    after = search.net.shares()
    for old, new in zip(before, after, strict=True):
        same = (old - new).abs() < 1e-6
        assert int(same.sum()) == 1
        assert not torch.equal(old, new)


@pytest.mark.parametrize(
    ("method", "changes"), [("p-darts", {"first_dropout": 0.9}), ("robust-darts", {})]
)
def test_what_is_measured_drops_nothing(method: str, changes: dict[str, float]) -> None:
    space, kind = spaces.get("nasbench201"), oneshot.get(method)
    settings, skeleton = kind.Settings(**changes), {"channels": 4, "cells": 1}  # type: ignore[arg-type]
    torch.manual_seed(0)
    search: Any = kind(brighter(), space, settings, skeleton, 0, workplace("cpu"))
    arch = space.architecture((1, 1, 3, 3, 1, 3))
    quiet = search.checked_accuracy(arch)
    search.begin_epoch()
    if method == "robust-darts":  # its rate rises from 0
        search.net.drop(path=0.9)
        search.eigenvalue()
    assert {search.checked_accuracy(arch) for _ in range(3)} == {quiet}
    batch = search.training.next()
    losses = [search.loss(batch)[0].item() for _ in range(2)]
    assert losses[0] != losses[1]  # training goes on dropping


def test_the_rate_falls_in_the_warm_up_and_again_after_it() -> None:
    search = toy("proxylessnas", epochs=160, logits_from=40, learning_rate=0.025)
    rates = []
    for search.epoch in (0, 20, 39, 40, 100, 159):
        rates.append(search.rate())
    late = [0.025 * (1 - math.cos(math.pi / n)) / 2 for n in (40, 120)]
    assert rates == pytest.approx([0.05, 0.025, 2 * late[0], 0.025, 0.0125, late[1]])


def test_eigenvalue_is_that_of_the_whole_hessian() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(40, 40, generator=generator, dtype=torch.float64)
    x = torch.randn(40, generator=generator, dtype=torch.float64, requires_grad=True)

    def loss(x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(a @ x).square().mean() + torch.tanh(x).prod()

    hessian = torch.autograd.functional.hessian(loss, x.detach())
    expected = float(torch.linalg.eigvalsh(hessian)[-1])
    start = torch.randn(40, generator=generator, dtype=torch.float64)
    found = dominant_eigenvalue(hessian_product(loss(x), x), start, steps=40)
    assert found == pytest.approx(expected, rel=1e-8)
    early = dominant_eigenvalue(hessian_product(loss(x), x), start, steps=20)
    assert early == pytest.approx(expected, rel=1e-4)


def test_eigenvalues_that_rise_are_seen_and_steady_ones_are_not() -> None:
    steady = [1.0] * 20
    assert not rises(steady, 4, 1.3)
    assert not rises([*steady, 1.5], 4, 1.3)  # one value of five: a mean of 1.1
    assert rises([*steady, 2.0, 2.5, 3.0], 4, 1.3)
    assert not rises([1.0, 9.0], 4, 1.3)


@pytest.mark.parametrize("response", ["stop", "adapt"])
def test_a_rise_ends_the_search_or_raises_the_decay(response: str) -> None:
    values = iter([1.0] * 6 + [5.0] * 60)
    search = toy("robust-darts", response=response, every=1, delta=2, earliest=0, epochs=10)
    search.eigenvalue = lambda: next(values)
    for _ in range(8):
        search.train_step(search.training.next())
        search.end_epoch()
        search.epoch += 1
        assert len(search.eigenvalues) == len(search.measured) == search.epoch
        if search.stopped:
            break
    if response == "stop":
        assert search.epoch == 7
        assert search.present() == search.space.from_json(search.measured[-3])
    else:
        assert search.epoch < 8
        decay = search.by_weights.param_groups[0]["weight_decay"]
        assert decay == pytest.approx(3e-4 * 3 ** round(math.log(decay / 3e-4, 3)))
        assert 3e-4 < decay <= 0.0244


def test_selection_by_perturbation_keeps_what_is_missed_most() -> None:
    net = nasbench201()
    worth = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).double()

    def accuracy(mix: Mix) -> float:  # weights in proportion to what operations are worth
        return float((mix.weights.double() * worth).sum())

    with torch.no_grad():
        net.logits.copy_(-1e-3 * worth)  # what weighs most is worth least
    shares = perturbed_shares(net, accuracy, np.random.default_rng(0))
    assert net.discretise(shares).values == tuple(worth.argmax(1).tolist())
    assert shares.count_nonzero() == 6
    torch.testing.assert_close(shares.max(1).values, 1 + worth.max(1).values)


def test_darts_may_select_by_perturbation() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        settings = quick("darts", selection="perturbation")
        found = oneshot.search(brighter(), Chain(), "darts", settings, skeleton={}, device="cpu")
    assert found.architecture.values == BEST


def test_skip_dropout_falls_as_published() -> None:
    rates = [skip_dropout(0.4, epoch, 10, 25) for epoch in (0, 9, 10, 24)]
    expected = [0.4 * 24 / 25, 0.4 * 15 / 25, 0.4, 0.4 * math.exp(-2.8)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "epochs", "learning"),
    [
        ("darts", 3, [2]),
        ("pc-darts", 3, [2]),
        ("proxylessnas", 5, [3, 4]),
        ("snas", 4, [2, 3]),
        ("p-darts", 3, [0, 1, 2]),
        ("p-darts", 4, [0, 1, 2, 3]),
        ("p-darts", 10, [2, 5, 8, 9]),
        ("p-darts", 11, [2, 5, 6, 9, 10]),
    ],
)
def test_logits_are_learnt_in_the_last_epochs(
    method: str, epochs: int, learning: list[int]
) -> None:
    """A warm-up of two epochs, of each stage where there are stages."""
    moved = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        search = toy(method, epochs=epochs, logits_from=2)
        for epoch in range(epochs):
            search.begin_epoch()
            before = search.net.logits.detach().clone()
            search.train_step(search.training.next())
            if not torch.equal(search.net.logits, before):
                moved.append(epoch)
            search.end_epoch()
            search.epoch += 1
    assert moved == learning
    if method == "p-darts":
        assert search.stage == 2
        assert search.epoch_of_stage == search.stage_epochs


@pytest.mark.parametrize(("method", "least"), [("pc-darts", 16), ("proxylessnas", 42)])
def test_searches_that_would_learn_no_logits_are_refused(method: str, least: int) -> None:
    kind = oneshot.get(method).Settings
    assert kind(epochs=least).epochs == least
    with pytest.raises(InputError, match=f"accepted: whole numbers from {least}$"):
        kind(epochs=least - 1)


def test_the_last_epoch_of_a_stage_is_recorded_before_the_next_stage_begins() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        settings = quick("p-darts", epochs=6)
        found = oneshot.search(brighter(), Chain(), "p-darts", settings, skeleton={}, device="cpu")
    there = [sum(share > 0 for share in epoch[0]) for epoch in found.shares]
    assert there == [3, 3, 2, 2, 1, 1]


def test_stages_have_fewer_operations_and_limit_skips() -> None:
    search = toy("p-darts", epochs=6, skips=1)
    assert [len(codes) for codes in search.net.allowed] == [3, 3]
    with torch.no_grad():
        search.net.logits[:] = torch.tensor([[0.0, 2.0, 1.0], [0.0, 3.0, 1.0]])
    assert search.present().values == (2, 1)  # the weaker skip gives way
    allowed = search.strongest(2 / 3)
    assert allowed == ((1, 2), (1, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        for _ in range(2):
            search.end_epoch()
            search.epoch += 1
        assert search.stage == 0  # what is recorded after the last epoch is of its stage
        search.begin_epoch()
    assert search.stage == 1
    assert [len(codes) for codes in search.net.allowed] == [2, 2]


@pytest.mark.parametrize("name", ["darts-s2", "darts-s3", "darts"])
def test_skips_give_way_to_what_their_edges_have_left(name: str) -> None:
    space = spaces.get(name)
    kind, rng, last = oneshot.get("p-darts"), np.random.default_rng(0), len(space.operations) - 1
    skip = space.operations.index("skip_connect")
    torch.manual_seed(0)
    search = kind(brighter(), space, kind.Settings(), {"channels": 2, "layers": 3}, 0,
                  workplace("cpu"))  # fmt: skip
    for part in (0.0, 0.5, 1.0):
        lone = rng.random(28) < part  # edges of a skip and perhaps `none`
        search.allowed = tuple(tuple({0, skip, skip if one else last}) for one in lone)
        search.build_stage()
        torch.nn.init.normal_(search.net.logits, std=2.0)
        codes = search.net.codes(search.present())
        assert all(c is None or c in a for c, a in zip(codes, search.net.allowed, strict=True))
        skipping = [row for row in range(14) if codes[row] == skip]
        assert len(skipping) <= 2 or lone[skipping].all()


def test_no_edge_is_left_with_none_alone() -> None:
    kind, space = oneshot.get("p-darts"), spaces.get("darts-s3")
    search = kind(brighter(), space, kind.Settings(), {"channels": 2, "layers": 1}, 0,
                  workplace("cpu"))  # fmt: skip
    with torch.no_grad():
        search.net.logits[:] = torch.tensor([3.0, 1.0, 2.0])
    assert search.strongest(5 / 8) == ((0, 2),) * 28
    assert search.strongest(3 / 8) == ((2,),) * 28


@pytest.mark.parametrize(("skeleton", "first"), [({}, 15), ({"cells": 1}, 3)])
def test_stages_are_deeper_whether_the_skeleton_names_its_depth_or_not(
    skeleton: dict[str, int], first: int
) -> None:
    kind, space = oneshot.get("p-darts"), spaces.get("nasbench201")
    settings = kind.Settings(deeper=6)  # type: ignore[call-arg]
    chosen = {"channels": 1, **skeleton}
    search: Any = kind(brighter(32), space, settings, chosen, 0, workplace("cpu"))
    cells = []
    for search.stage in range(3):
        search.build_stage()
        cells.append(sum(isinstance(m, MixedCell) for m in search.net.modules()))
    assert cells == [first, first + 6, first + 12]


def test_darts_plus_stops_at_the_number_of_skips() -> None:
    search = toy("darts-plus", skips=2, earliest=2, stop_before=True)
    with torch.no_grad():
        search.net.logits[:] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    search.end_epoch()
    search.epoch = 1
    assert not search.stopped
    with torch.no_grad():
        search.net.logits[0, 1] = 2.0
    search.end_epoch()
    assert search.stopped
    assert search.present().values == (0, 1)


@pytest.mark.parametrize("criterion", ["skips", "ranking"])
def test_rules_do_not_stop_a_search_while_its_logits_rest(criterion: str) -> None:
    search = toy("darts-plus", criterion="skips", skips=1, patience=2, earliest=1, logits_from=5)
    search.settings = replace(search.settings, criterion=criterion)
    search.parametric = [[0, 1], [0, 1]]  # the toy's operations have no weights
    with torch.no_grad():
        search.net.logits[:, 1] = 2.0
    for search.epoch in range(8):
        search.end_epoch()
        if search.stopped:
            break
    assert search.epoch == {"skips": 5, "ranking": 7}[criterion]


def test_eigenvalues_that_rise_while_logits_rest_are_not_acted_on() -> None:
    search = toy("robust-darts", every=1, delta=1, earliest=0, logits_from=6)
    values = iter(3.0**i for i in range(8))
    search.eigenvalue = lambda: next(values)
    for search.epoch in range(8):
        search.end_epoch()
        if search.stopped:
            break
    assert search.epoch == 6


def test_switches_without_effect_lose_their_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 10, generator=generator)
    truth = torch.zeros(10)
    truth[:3] = torch.tensor([1.0, -2.0, 1.5])
    y = x @ truth + 0.1 * torch.randn(400, generator=generator)
    sparsity, gamma, omega = 0.1, torch.ones(10), torch.ones(10)
    curvature = 2 * (x * x).mean(0)
    for _ in range(20):
        s = truth.new_zeros(10)
        for _ in range(200):  # proximal gradient on the reweighted lasso
            s = s - 0.2 * 2 * (x.T @ (x @ s - y)) / len(y)
            s = s.sign() * (s.abs() - 0.2 * sparsity * omega).clamp_min(0.0)
        gamma, omega = reweighted(s, gamma.clamp_min(1e-12), curvature, sparsity)
    assert float(gamma[3:].max()) < 1e-3
    assert float(gamma[:3].min()) > 0.1


@pytest.mark.parametrize(("rate", "same"), [(0.0, True), (0.3, False)])
def test_snas_drops_operations_in_training_and_not_in_checks(rate: float, same: bool) -> None:
    kind: Any = oneshot.get("snas")
    settings = kind.Settings(drop_path=rate)
    skeleton = {"channels": 4, "cells": 1}
    search = kind(brighter(32), spaces.get("nasbench201"), settings, skeleton, 0, workplace("cpu"))
    search.begin_epoch()
    batch, mix = search.training.next(), search.net.mix()
    losses = [search.loss(batch, mix)[0].item() for _ in range(2)]
    assert (losses[0] == losses[1]) == same
    arch = search.present()
    assert search.checked_accuracy(arch) == search.checked_accuracy(arch)


@pytest.mark.parametrize("curvature", [1.3, -1.3, -1e-4])
def test_small_variances_are_updated_as_in_double_precision(curvature: float) -> None:
    gamma, h, s = 10.0 ** -torch.arange(0.0, 13.0), torch.tensor(curvature), torch.tensor(1e-3)
    next_gamma, found = reweighted(s, gamma, h, 0.5)
    exact = [Fraction(float(g)) for g in gamma]
    ratio = Fraction(float(h)) / Fraction(0.5)
    squares = [1 / g - 1 / (1 / g + ratio) / g**2 for g in exact]
    assert found.tolist() == pytest.approx([math.sqrt(abs(float(q))) for q in squares], rel=1e-5)
    assert next_gamma.tolist() == pytest.approx((s / found).tolist())


def test_switches_of_negative_curvature_do_not_outweigh_all_others() -> None:
    kind: Any = oneshot.get("bayesnas")

    class Saddle(kind):  # type: ignore[misc]
        """A loss that curves down along one switch of the first edge, and up along all others."""

        def loss(self, batch: Any, mix: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
            bends = torch.ones_like(self.net.logits)
            bends[0, 3] = -0.05
            return (bends * self.net.logits.square()).sum() / 2, torch.zeros(())

    space, skeleton = spaces.get("nasbench201"), {"channels": 2, "cells": 1}
    search = Saddle(brighter(32), space, kind.Settings(), skeleton, 0, workplace("cpu"))
    assert float(search.curvature()[0, 3]) == pytest.approx(-0.05)
    search.epoch = 1
    search.end_epoch()
    assert float(search.gamma.max()) < 2 * float(search.gamma[1].max())


def test_operations_of_largest_variance_are_derived_whatever_their_switches() -> None:
    kind, space = oneshot.get("bayesnas"), spaces.get("darts-none")
    skeleton = {"channels": 2, "layers": 3}
    search: Any = kind(brighter(32), space, kind.Settings(), skeleton, 0, workplace("cpu"))
    names, live = space.operations, search.live  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    search.gamma = (0.1 + torch.rand(live.shape, generator=generator)) * live
    with torch.no_grad():
        search.net.logits.copy_(live / (1.0 + search.gamma))  # larger variance, smaller switch
    search.gamma[2:5] = 0.01 * live[2:5]  # all edges into node 3 are pruned
    assert torch.equal(search.shares().argmax(1), search.gamma.argmax(1).where(
        search.gamma.amax(1) > 0.05, names.index("none")
    ))  # fmt: skip
    strength = search.gamma[9:14].amax(1)
    last = space.cells(search.present())["normal"].blocks[3]  # type: ignore[attr-defined]
    assert {state for state, _ in last.pairs} == set(strength.topk(2).indices.tolist())
    for state, operation in last.pairs:
        assert names.index(operation) == int(search.gamma[9 + state].argmax())


def test_the_controller_of_enas_solves_a_bandit() -> None:
    space = spaces.get("nasbench201")
    policy = LSTMPolicy(space, hidden=16, layers=1, reach=0.1, temperature=5.0, squash=2.5)
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.02)
    best, rng, baseline = np.array([3, 1, 3, 1, 3, 1]), np.random.default_rng(0), 0.0
    for _ in range(150):
        codes, log_policy = policy.sample(rng.random((4, 6)))
        advantages = []
        for reward in (codes == best).mean(axis=1):
            baseline += 0.05 * (reward - baseline)
            advantages.append(reward - baseline)
        log_p = chosen_log_policy(log_policy, codes).sum(dim=1)
        optimiser.zero_grad()
        (-log_p * log_p.new_tensor(advantages)).sum().backward()
        optimiser.step()
    assert policy.most_likely().tolist() == best.tolist()
    # The squash c tanh(l / T) with c = 2.5 keeps a choice of five below 0.98.
    log_p = chosen_log_policy(policy(best[None]), best[None])
    assert float(log_p.detach().exp().min()) > 0.8


def test_the_divergence_of_skips_is_that_of_their_distributions() -> None:
    space = spaces.get("enas-macro")
    policy = LSTMPolicy(space, hidden=16, layers=1, reach=1.0)
    skips = bits(space)
    assert len(skips) == 66
    assert {space.choices[d].values for d in skips} == {("0", "1")}
    _, log_policy = policy.sample(np.random.default_rng(0).random((3, 78)))
    p = torch.distributions.Bernoulli(log_policy[:, skips, 1].exp())
    q = torch.distributions.Bernoulli(torch.full((3, 66), 0.4))
    expected = torch.distributions.kl_divergence(p, q).mean()
    found = skip_divergence(log_policy[:, skips], 0.4)
    torch.testing.assert_close(found, expected)


def test_the_controller_of_enas_is_drawn_to_the_share_of_skips() -> None:
    settings = ENASSettings(
        epochs=1, batch_size=64, controller_steps=15, rewards=1, skip_weight=100.0,
        controller_learning_rate=0.03, skip_target=0.1,
    )  # fmt: skip
    space = spaces.get("enas-macro")
    search = ENAS(brighter(64), space, settings, {"channels": 2}, 0, workplace("cpu"))

    def share() -> float:
        _, _, log_policy = search.draw(4, search.generator("looked at"))
        return float(log_policy[:, search.skips, 1].detach().exp().mean())

    assert share() > 0.4
    search.end_epoch()
    assert share() < 0.2
    with pytest.raises(
        InputError, match=r"'skip_weight' is 0\.5 on space 'nasbench201', which has"
    ):
        ENAS(brighter(64), spaces.get("nasbench201"), ENASSettings(skip_weight=0.5), {}, 0,
             workplace("cpu"))  # fmt: skip


def test_partial_channels_that_do_not_divide_are_refused() -> None:
    kind = oneshot.get("pc-darts")
    settings = kind.Settings(partial=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="accepted: a divisor of 4"):
        kind(brighter(), spaces.get("nasbench201"), settings, {"channels": 4, "cells": 1}, 0,
             workplace("cpu"))  # fmt: skip


def test_weights_of_partial_channels_are_no_discrete_network() -> None:
    kind, space = oneshot.get("pc-darts"), spaces.get("nasbench201")
    settings = kind.Settings(partial=2)  # type: ignore[call-arg]
    skeleton = {"channels": 4, "cells": 1}
    search = kind(brighter(32), space, settings, skeleton, 0, workplace("cpu"))
    arch = space.sample(np.random.default_rng(0))
    assert 0.0 <= shared_accuracy(search, arch, recalibrated=False) <= 1.0
    assert math.isnan(shared_accuracy(search, arch, recalibrated=True))
    with pytest.raises(InputError, match="have 1/2 of the channels"):
        search.net.discrete(arch)


@pytest.mark.parametrize("method", ["gdas", "rs-ws", "enas", "setn", "proxylessnas"])
def test_weights_of_one_path_methods_see_one_operation_an_edge(method: str) -> None:
    seen: list[Any] = []

    class Watched(ChainSupernet):
        def run(self, x: Tensor, mix: Any) -> Tensor:
            seen.append(mix)
            return super().run(x, mix)

    search = toy(method)
    search.net.__class__ = Watched
    search.begin_epoch()
    search.train_step(search.training.next())
    assert [len(path) for path in seen[-1].paths] == [1, 1]


# Schedules, steps and choices of single methods ---------------------------------------------------


def test_temperatures_and_rates_of_dropping_go_from_end_to_end() -> None:
    gdas, snas = toy("gdas", epochs=5), toy("snas", epochs=5)
    robust = toy("robust-darts", epochs=5, drop_path=0.2)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(robust.net, "drop", lambda path: found.append(("path", path)))
        for search in (gdas, snas, robust):
            for search.epoch in (0, 2, 4):
                search.begin_epoch()
                if search is not robust:
                    found.append(("temperature", search.sampler.temperature))
    expected = [10.0, 5.05, 0.1, 1.0, math.sqrt(0.03), 0.03, 0.0, 0.1, 0.2]
    assert [value for _, value in found] == pytest.approx(expected)


def test_path_dropout_rises_with_the_steps() -> None:
    search = toy("one-shot", epochs=4, dropout=0.2)
    rates = []
    for search.epoch, search.step_of_epoch in ((0, 0), (2, 0), (3, 2)):
        search.train_step(search.training.next())
        rates.append(search.dropping.rate)
    assert len(search.training) == 4
    assert rates == pytest.approx([0.0, 0.1, 0.175])


def test_stages_have_the_dropout_that_is_set_for_them() -> None:
    rates: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", ChainSupernet)
        patch.setattr(ChainSupernet, "drop", lambda self, skip: rates.append(skip))
        dropouts = {"first_dropout": 0.1, "second_dropout": 0.2, "third_dropout": 0.3}
        kind, settings = oneshot.get("p-darts"), quick("p-darts", epochs=6, **dropouts)
        search: Any = kind(brighter(), Chain(), settings, {}, 0, workplace("cpu"))
        for search.epoch in range(6):
            search.begin_epoch()
    assert rates[::2] == pytest.approx([0.1, 0.2, 0.3])
    assert rates[1::2] == pytest.approx([r * math.exp(-0.2) for r in rates[::2]])


@pytest.mark.parametrize("method", ["darts", "snas"])
def test_a_step_of_the_weights_is_no_longer_than_the_clip(method: str) -> None:
    given = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.5}
    moved = []
    for clip in (1e-3, 2e-3, 1e9):
        search = toy(method, gradient_clip=clip, **given)
        before = [w.detach().clone() for w in search.weights]
        search.train_step(search.training.next())
        steps = [(w.detach() - b).flatten() for w, b in zip(search.weights, before, strict=True)]
        moved.append(float(torch.cat(steps).norm()))
    assert moved[:2] == pytest.approx([0.5e-3, 1e-3], rel=1e-3)
    assert moved[2] > 0.01


def test_accuracies_of_batches_count_by_their_size() -> None:
    search = toy("darts")
    search.loss = lambda batch, mix: (torch.zeros(()), torch.tensor(float(batch[1])))
    batches = iter([(torch.zeros(3, 2), 0.5), (torch.zeros(1, 2), 1.0)])
    assert search.mixture_accuracy(None, batches) == pytest.approx(2.5 / 4)


def test_finalists_are_chosen_on_a_few_batches_and_judged_on_all() -> None:
    search = toy("rs-ws")
    few = {arch: float(sum(arch.values)) for arch in Chain().architectures()}
    whole = {arch: -float(arch.values[0]) for arch in few}
    search.checked_accuracy = lambda arch, n: (whole if n is None else few)[arch]
    archs = list(few)
    assert search.best(archs, 3, 2).values == (1, 2)  # of (2, 2), (1, 2) and (2, 1)
    assert search.best(archs, 1, 2).values == (2, 2)
    assert search.best(archs, 9, 2).values[0] == 0


@pytest.mark.parametrize("listed", [True, False])
def test_the_likeliest_are_those_of_largest_product(
    listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = toy("setn")
    if not listed:
        monkeypatch.setattr("transnas.oneshot.setn._LISTED", 0)
    with torch.no_grad():
        search.net.logits[:] = torch.tensor([[0.1, 1.0, 0.5], [0.3, 0.0, 0.2]])
    p = search.net.logits.detach().softmax(1)
    order = sorted(
        Chain().architectures(), key=lambda a: -float(p[0, a.values[0]] * p[1, a.values[1]])
    )
    assert search.likeliest(4) == order[:4]


def test_the_cost_of_snas_is_a_share_of_the_dearest_and_is_lowered() -> None:
    kind, space = oneshot.get("snas"), spaces.get("nasbench201")
    settings = kind.Settings(resource=1e6, logits_learning_rate=0.1)  # type: ignore[call-arg]
    skeleton = {"channels": 4, "cells": 1}
    search: Any = kind(brighter(32), space, settings, skeleton, 0, workplace("cpu"))
    assert float(search.costs.max(dim=1).values.sum()) == pytest.approx(1.0)
    search.begin_epoch()
    before = float(search.cost().detach())
    for _ in range(3):
        search.train_step(search.training.next())
    assert float(search.cost().detach()) < 0.9 * before


# ENAS and BayesNAS --------------------------------------------------------------------------------


def test_the_baseline_of_enas_is_a_moving_average_with_the_present_reward() -> None:
    search, average = toy("enas", baseline_decay=0.9), 0.6
    for reward in (0.6, 0.2, 0.9, 0.9):
        average = 0.9 * average + 0.1 * reward
        assert search.advantage(reward) == pytest.approx(reward - average)


def test_the_policy_of_enas_moves_to_what_is_rewarded_with_its_entropy_in_the_reward() -> None:
    search = toy("enas", entropy=0.5, controller_steps=3, rewards=40)
    rewards = []

    def advantage(reward: float) -> float:
        rewards.append(reward)
        return reward - 1.5

    target = np.array([[2, 0]])
    search.accuracy = lambda arch, batches: float(arch.values == (2, 0))
    search.advantage = advantage

    def log_p() -> float:
        with torch.no_grad():
            return float(chosen_log_policy(search.controller(target), target).sum())

    before = log_p()
    search.end_epoch()
    assert log_p() > before + 0.05
    # A policy that has hardly moved has an entropy of 2 ln 3.
    assert min(rewards) == pytest.approx(math.log(3), abs=0.1)
    assert max(rewards) == pytest.approx(1 + math.log(3), abs=0.1)
    assert search.derive().values == (2, 0)


def test_the_controller_of_enas_is_as_released() -> None:
    search = toy("enas")
    assert (search.controller.temperature, search.controller.squash) == (5.0, 2.5)
    weights = torch.cat([p.detach().flatten() for p in search.controller.parameters()])
    assert 0.09 < float(weights.abs().max()) <= 0.1
    (group,) = search.by_controller.param_groups
    assert (group["betas"], group["eps"]) == ((0.0, 0.999), 1e-3)


def test_switches_pay_the_reweighted_lasso() -> None:
    search, losses = toy("bayesnas", sparsity=0.3), []
    search.epoch = 1
    search.omega = torch.rand(2, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    with torch.no_grad():
        search.net.logits[:] = torch.tensor([[0.5, -1.0, 3.0], [2.0, 0.1, 3.0]])
    search.descend_logits = losses.append
    batch = search.training.next()
    torch.manual_seed(0)
    search.train_step(batch)
    torch.manual_seed(0)
    plain = search.loss(batch)[0]
    switches = torch.tensor([[0.5, 1.0, 0.0], [2.0, 0.1, 0.0]])  # `none` has none
    expected = plain + 0.3 * (search.omega * switches).sum()
    torch.testing.assert_close(losses[0], expected)


def test_an_operation_is_no_more_likely_than_its_edge() -> None:
    gamma = torch.tensor([[0.3, 0.4, 0.0], [12.0, 5.0, 1e-3]], dtype=torch.float64)
    found = dependent(gamma)
    for row, edge in ((0, 0.5), (1, math.sqrt(169 + 1e-6))):
        for g, child in zip(gamma[row].tolist(), found[row].tolist(), strict=True):
            assert child == pytest.approx(g * edge / (g + edge), abs=1e-11)
    assert 0.5 * math.log(2 * math.pi * math.e * _PRUNED) == pytest.approx(0.0, abs=1e-3)


def test_curvature_is_the_diagonal_of_the_hessian_also_where_it_is_negative() -> None:
    search = toy("bayesnas")
    batch = next(search.checks())
    x, net = batch[0], search.net

    def scores(logits: Tensor) -> Tensor:
        torch.manual_seed(0)
        shares = torch.where(search.live, logits, 0.0)
        return torch.nn.functional.cross_entropy(net.run(x, Mix(shares)), batch[1])

    with torch.no_grad():
        net.logits[:] = torch.tensor([[0.5, -1.0, 0.0], [2.0, 0.1, 0.0]])
    hessian = torch.autograd.functional.hessian(scores, net.logits.detach())
    diagonal = hessian.reshape(6, 6).diagonal().reshape(2, 3)
    torch.manual_seed(0)
    torch.testing.assert_close(search.curvature(), diagonal)
    bends = torch.tensor([[1.0, -1.0, 2.0], [-3.0, 0.5, 2.0]])
    search.loss = lambda batch: ((bends * net.logits.square()).sum(), None)
    assert search.curvature().tolist() == [[2.0, -2.0, 0.0], [-6.0, 1.0, 0.0]]
    assert float(search.shares().sum(dim=1).max()) == pytest.approx(1.0)
