"""The algorithm box against plain DARTS, against itself, and against its cost formula."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interleaved_toys import stripes
from torch import Tensor
from torch.nn import functional as F
from two_memories import ACCELERATOR, two_memories

from transnas import networks, oneshot, spaces
from transnas import tasks as built_in
from transnas.evaluation.training import Batches, Recipe, deterministic, workplace
from transnas.meta.interleaved import (
    METHODS,
    PRESETS,
    InterleaveSettings,
    Interleaving,
    algorithm,
    phase2,
    stages,
)
from transnas.meta.interleaved.mmd import FACTORS, Kernel, mmd2
from transnas.meta.interleaved.normalise import Balance, Normaliser, cosines
from transnas.meta.interleaved.order import order, path, task_distances
from transnas.meta.interleaved.setup import own_skeleton
from transnas.meta.interleaved.stages import Stage
from transnas.meta.interleaved.streams import stream_seed
from transnas.networks.relaxations import Softmax
from transnas.oneshot._streams import seeded
from transnas.oneshot.darts import DARTSSettings
from transnas.spaces import Space
from transnas.tasks import DataTask, Signature

SMALL = {"batch_size": 8, "anchors": 2, "views": 4, "iterations": 4}


def make(
    space: Space, tasks: list[DataTask], seed: int = 0, **settings: Any
) -> Interleaving:  # fmt: skip
    given = InterleaveSettings(**{**SMALL, **settings})
    return Interleaving(tasks, space, given, skeleton={}, seed=seed, device="cpu")


def weights(search: Interleaving) -> list[Tensor]:
    """Return everything that learns, in a fixed order of tasks."""
    by_name = sorted(search.learners, key=lambda x: x.task.name)
    return [
        p.detach()
        for x in by_name
        for module in (x.encoder, x.head)
        for _, p in sorted(module.named_parameters())
    ]


def equal(first: Interleaving, second: Interleaving) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


# Plain DARTS ------------------------------------------------------------------------------------


def test_one_task_one_round_is_plain_darts_bit_for_bit() -> None:
    """M = 1, K = 1, no transfer, DARTS' order: the one-shot trainer is the oracle."""
    task, space = built_in.get("digits", limit=16), spaces.get("nasbench201")
    assert isinstance(task, DataTask)
    skeleton = {"channels": 2, "cells": 1}
    settings = InterleaveSettings(
        preset="none", rounds=1, epochs=2, batch_size=32, alpha_first=True, normalise="none"
    )
    search = Interleaving([task], space, settings, skeleton=skeleton, seed=3, device="cpu")
    search.run()
    own = stream_seed(3, "digits")
    chosen = DARTSSettings(epochs=2, batch_size=32, order=1, logits_from=0)
    found = oneshot.search(task, space, "darts", chosen, skeleton=skeleton, seed=own, device="cpu")
    net, curve = found.method.net, found.curve
    assert search.iterations == 2 * 5
    encoder = search.learners[0].encoder.network
    assert torch.equal(encoder.logits, net.logits)
    head = search.learners[0].head
    trained = {
        **dict(encoder.named_parameters()),
        **{f"network.head.{name}": p for name, p in head.named_parameters()},
    }
    for name, expected in net.named_parameters():
        assert torch.equal(trained[name], expected), name
    losses = [p["tasks"]["digits"]["train/1"] for p in search.history.points]
    assert sum(losses[5:]) / 5 == pytest.approx(curve[1]["train_loss"], rel=1e-6)


@pytest.mark.parametrize("alpha_first", [True, False])
def test_both_orders_are_darts_written_out(
    space: Space, tasks: list[DataTask], alpha_first: bool
) -> None:
    task, steps = tasks[0], 20
    search = make(space, [task], preset="none", rounds=1, iterations=steps,
                  alpha_first=alpha_first, normalise="none")  # fmt: skip
    search.run()
    own, s = stream_seed(0, task.name), search.settings
    with deterministic(own, torch.device("cpu")):
        net = networks.supernet(space, task.signature, Softmax())
    net.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(net.shared_weights(), lr=1.0, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam([net.logits], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def endless(split: Any, purpose: str) -> Iterator[Any]:
        batches = Batches(split, 8, torch.device("cpu"), seeded(own, purpose))
        while True:
            yield from batches.epoch()

    streams = [endless(task.train, "training data"), endless(task.validation, "validation data")]

    def step(stream: Any, optimiser: Any, parameters: Any, clip: float) -> None:
        images, labels = next(stream)
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(images), labels), inputs=parameters)
        if clip < math.inf:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()

    moves = [
        lambda: step(streams[1], adam, [net.logits], math.inf),
        lambda: step(streams[0], sgd, net.shared_weights(), 5.0),
    ]
    for i in range(steps):
        sgd.param_groups[0]["lr"] = s.rate(i / steps)
        for move in moves if alpha_first else reversed(moves):
            move()
    encoder = search.learners[0].encoder.network
    assert torch.equal(encoder.logits, net.logits)
    assert torch.equal(encoder.network.stem.weight, net.network.stem.weight)
    assert torch.equal(search.learners[0].head.weight, net.network.head.weight)


# What is shared, and what is not ----------------------------------------------------------------


def test_separate_architectures_without_transfer_are_independent_searches(
    space: Space, tasks: list[DataTask]
) -> None:
    together = make(space, tasks, preset="none", architecture="separate")
    together.run()
    for k, task in enumerate(tasks):
        alone = make(space, [task], preset="none")
        alone.run()
        assert torch.equal(alone.learners[0].alpha[0], together.learners[k].alpha[0])
        for a, b in zip(weights(alone), [
            p.detach() for m in (together.learners[k].encoder, together.learners[k].head)
            for _, p in sorted(m.named_parameters())
        ], strict=True):  # fmt: skip
            assert torch.equal(a, b)


def test_the_order_of_tasks_matters_only_with_transfer(space: Space, tasks: list[DataTask]) -> None:
    for preset, expected in (("none", True), ("joint", False)):
        options = {"preset": preset, "match_every": None if preset == "none" else 1}
        forward = make(space, tasks, **options)
        backward = make(space, tasks[::-1], **options)
        forward.run()
        backward.run()
        pairs = zip(weights(forward), weights(backward), strict=True)
        found = all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)
        assert found == expected


def test_gradient_of_alpha_is_the_mean_over_tasks(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks, preset="none", rounds=1)
    joint: list[Tensor] = []
    parts = [search.level3._task_gradient(x) for x in search.learners]
    again = make(space, tasks, preset="none", rounds=1)
    original = again.level3.balance.join

    def join(*args: Any) -> Tensor:
        joint.append(original(*args))
        return joint[-1]

    again.level3.balance.join = join  # type: ignore[method-assign]
    again.level3.step()
    mean = torch.stack([p[0] for p in parts if p is not None]).mean(0)
    torch.testing.assert_close(joint[0], mean, rtol=1e-6, atol=1e-9)


def test_a_task_that_diverged_counts_less(space: Space, tasks: list[DataTask]) -> None:
    search, twin = (make(space, tasks[:2], preset="none") for _ in range(2))
    parts = [found[0] for found in map(twin.level3._task_gradient, twin.learners) if found]
    search.learners[1].factor = 0.25
    search.level3.step()
    (grad,) = (a.grad for a in search.learners[0].alpha)
    assert grad is not None
    torch.testing.assert_close(grad.flatten(), parts[0] / 2 + parts[1] / 8)


def test_a_task_that_was_dropped_leaves_its_share_to_the_others(
    space: Space, tasks: list[DataTask]
) -> None:
    search, twin = (make(space, tasks[:2], preset="none") for _ in range(2))
    found = twin.level3._task_gradient(twin.learners[0])
    search.learners[1].strikes = search.settings.strikes
    search.level3.step()
    (grad,) = (a.grad for a in search.learners[0].alpha)
    assert found is not None
    assert grad is not None
    torch.testing.assert_close(grad.flatten(), found[0])


def test_an_encoder_strides_no_more_than_suits_its_images() -> None:
    space, small, large = (
        spaces.get("nasbench201"), Signature((3, 8, 8), 2), Signature((3, 224, 224), 2)
    )  # fmt: skip
    given = {"channels": 4, "cells": 1}
    assert networks.suggest(space, large)["stem_stride"] == 4
    for stride, signature, wanted in ((4, small, 1), (4, large, 4), (1, large, 1)):
        found = own_skeleton(space, {**given, "stem_stride": stride}, signature)
        assert found == {**given, "stem_stride": wanted}
    assert own_skeleton(space, given, large) == given


def test_two_paths_of_an_edge_keep_their_joint_probability(
    space: Space, tasks: list[DataTask]
) -> None:
    """And the third operation keeps its logit: no decay, no momentum of earlier draws."""
    search = make(space, tasks, preset="none", method="proxyless", logits_learning_rate=0.1)
    (alpha,) = search.learners[0].alpha
    counts: list[int] = []
    for _ in range(8):
        before = alpha.detach().clone()
        search.level3.step()
        changed = alpha.detach() != before
        counts += changed.sum(1).tolist()
        for now, old, moved in zip(alpha.detach(), before, changed, strict=True):
            kept = now[moved].logsumexp(0), old[moved].logsumexp(0)
            torch.testing.assert_close(*kept, rtol=1e-5, atol=1e-6)
    assert set(counts) <= {0, 2}, "0: behind an edge that gives zeros"
    assert counts.count(2) > 4


def test_weight_zero_equals_no_transfer_bit_for_bit(space: Space, tasks: list[DataTask]) -> None:
    """The matched sets' own stream is proven by this."""
    nothing = make(space, tasks, preset="none")
    zero = make(space, tasks, preset="joint", transfer_weight=0.0, match_every=1)
    nothing.run()
    zero.run()
    assert zero.cost.student_passes > 0
    assert equal(nothing, zero)


def test_transfer_moves_the_student_alone(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks, preset="published", carry=True)
    search.advance()
    teacher, student = search.learners[0], search.learners[1]
    before = [p.detach().clone() for p in teacher.encoder.parameters()]
    alpha = student.alpha[0].detach().clone()
    search.advance()
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.encoder.parameters(), strict=True))
    assert torch.equal(alpha, student.alpha[0])


@pytest.mark.parametrize(("preset", "labels"), [("joint", True), ("published", False)])
def test_where_labels_reach_the_encoder(
    space: Space, tasks: list[DataTask], preset: str, labels: bool
) -> None:
    search = make(space, tasks, preset=preset, transfer_weight=0.0)
    seen: dict[int, tuple[bool, bool]] = {}
    while search.iteration == 0:
        unit = search.units[search.position]
        before = [p.detach().clone() for x in search.learners for p in x.private]
        search.advance()
        if unit is not None:
            learner = search.learners[unit.task]
            heads = {id(p) for p in learner.head.parameters()}
            gradients = [p.grad for p in learner.private if id(p) not in heads]
            reached = any(g is not None and bool(g.any()) for g in gradients)
            seen[unit.t] = reached, bool(learner.head.weight.grad.any())
        del before
    assert [encoder for encoder, _ in seen.values()] == [True] + [labels] * 5
    assert all(head for _, head in seen.values())


def test_every_method_and_preset_runs(space: Space, tasks: list[DataTask]) -> None:
    for preset, method in [*((p, "darts") for p in PRESETS), *(("joint", m) for m in METHODS)]:
        chosen = tasks[:2]
        search = make(space, chosen, preset=preset, method=method, iterations=2, partial=1)
        before = search.learners[0].alpha[0].detach().clone()
        assert search.run()
        assert not torch.equal(before, search.learners[0].alpha[0])
        space.validate(search.derive())


# Stages, orders, schedules ------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "m"), list(itertools.product(range(1, 5), range(1, 5))))
def test_stages_follow_one_formula(k: int, m: int) -> None:
    found = stages(m, lambda round_: range(k))
    for t, stage in enumerate(found, start=1):
        assert (stage.t, stage.round, stage.task) == (t, (t - 1) // k + 1, (t - 1) % k)
        assert stage.previous == (None if t == 1 else (t - 2) % k)
    assert len(found) == m * k


def test_the_trace_of_an_iteration_is_the_table(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:2], rounds=2, warmup=0.5)
    rows = []
    while not search.done:
        unit, iteration = search.units[search.position], search.iteration
        search.advance()
        rows.append((iteration, None if unit is None else (unit.t, unit.task, unit.previous)))
    of_stages = [(1, 0, None), (2, 1, 0), (3, 0, 1), (4, 1, 0)]
    assert rows == [
        row for it in range(4) for row in
        [*((it, stage) for stage in of_stages), *([(it, None)] if it >= 2 else [])]
    ]  # fmt: skip


def test_orders() -> None:
    active = [0, 2, 3]
    assert order("fixed", active, 0, 0, 1, ()) == active
    assert order("reverse", active, 0, 0, 1, ()) == [3, 2, 0]
    assert order("similar", active, 0, 0, 1, [3, 1, 0, 2]) == [3, 0, 2]
    drawn = [tuple(order("random", active, 0, it, 1, ())) for it in range(60)]
    assert set(drawn) == set(itertools.permutations(active))
    distances = torch.tensor([[0, 3, 1.0], [3, 0, 2], [1, 2, 0]]).numpy()
    assert path(distances, 0, nearest=True) == [0, 2, 1]
    assert path(distances, 0, nearest=False) == [0, 1, 2]
    line = torch.tensor([0.0, 1.0, -1.2, 2.3])  # from each to its neighbour, not from the first
    distances = (line[:, None] - line).abs().double().numpy()
    assert path(distances, 0, nearest=True) == [0, 1, 3, 2]
    assert path(distances, 3, nearest=False) == [3, 2, 1, 0]


def test_similar_tasks_are_neighbours(space: Space, tasks: list[DataTask]) -> None:
    near, far = (make(space, tasks, order=o, iterations=1) for o in ("similar", "dissimilar"))
    assert sorted(near.similar) == sorted(far.similar) == [0, 1, 2]
    assert near.similar != far.similar


def test_posthoc_moves_weights_first_and_then_alpha(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:2], alpha_schedule="posthoc", iterations=3)
    alpha = search.learners[0].alpha[0].detach().clone()
    for done in range(3):  # the weights' rate has fallen by the end of their steps
        rate = search.learners[0].optimiser.param_groups[0]["lr"]
        assert rate == pytest.approx(search.settings.rate(done / 3))
        while search.iteration == done:
            search.advance()
    assert torch.equal(alpha, search.learners[0].alpha[0])
    stem = search.learners[0].encoder.network.network.stem.weight.detach().clone()
    search.run()
    assert not torch.equal(alpha, search.learners[0].alpha[0])
    assert torch.equal(stem, search.learners[0].encoder.network.network.stem.weight)


def test_predecessor_weights_are_where_an_encoder_starts(
    space: Space, tasks: list[DataTask]
) -> None:
    for rule, expected in (("predecessor", [True, False]), ("predecessor_always", [True, True])):
        search = make(space, tasks[:2], preset="none", init_from=rule, learning_rate=1e-12,
                      least_learning_rate=1e-12)  # fmt: skip
        edges = [x.encoder.network.network.edges[0].weight for x in search.learners]
        found = []
        for _ in range(2):
            search.advance()
            with torch.no_grad():
                edges[0].add_(1.0)
            search.advance()
            found.append(torch.allclose(edges[0], edges[1], atol=1e-6))
        assert found == expected


def test_tasks_with_slashes_in_their_names_keep_their_curves(space: Space) -> None:
    names = ["torchvision/cifar10", "torchvision", "torchvision/cifar10/small"]
    search = make(space, [stripes(name) for name in names], preset="none", iterations=1)
    search.run()
    (point,) = search.history.points
    assert list(point["tasks"]) == names
    for curves in point["tasks"].values():
        assert set(curves) == {"train/1", "train/2", "validation", "score", "gradient"}
    assert not any(key.startswith("torchvision") for key in point)


def test_random_orders_differ_between_rounds_iterations_and_seeds() -> None:
    active = list(range(6))
    drawn = {
        tuple(order("random", active, seed, it, m, ()))
        for seed, it, m in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2))
    }
    assert len(drawn) == 4


def test_a_path_of_similar_tasks_begins_at_the_largest(space: Space) -> None:
    given = [stripes(name, count, seed=count) for name, count in (("a", 48), ("b", 96), ("c", 24))]
    for rule in ("similar", "dissimilar"):
        assert make(space, given, order=rule).similar[0] == 1


class Pixels(torch.nn.Module):
    """An encoder whose features are pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return (self.scale * images).flatten(1)


def test_distances_of_tasks_are_those_of_all_their_examples(tasks: list[DataTask]) -> None:
    """Small tasks are taken whole, so the kernel is around the median over all their pairs."""
    found = task_distances(tasks[:2], Pixels(), tasks[0], seed=3)
    both = [torch.stack([x for x, _ in t.train]).flatten(1).double() for t in tasks[:2]]  # type: ignore[attr-defined]
    pairs = torch.pdist(torch.cat(both)) ** 2
    kernel = Kernel(pairs.median(), FACTORS)
    assert found[0, 1] == found[1, 0] == pytest.approx(float(mmd2(*both, kernel)), rel=1e-6)
    assert found[0, 0] == found[1, 1] == 0


def test_with_carry_an_iteration_goes_on_from_the_last_one(
    space: Space, tasks: list[DataTask]
) -> None:
    for carry, previous in ((True, 2), (False, None)):
        search = make(space, tasks, preset="soft", carry=carry)
        first = search.units[0]
        while search.iteration == 0:
            search.advance()
        second = search.units[0]
        assert isinstance(first, Stage)
        assert isinstance(second, Stage)
        assert (first.previous, second.previous) == (None, previous)


def test_transfer_grows_in_proportion_until_the_end_of_its_ramp() -> None:
    settings = InterleaveSettings(transfer_weight=0.6, transfer_ramp=0.5)
    assert [settings.transfer_at(d) for d in (0.125, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.15, 0.3, 0.6, 0.6]
    )
    assert InterleaveSettings(transfer_weight=0.6, transfer_ramp=0.0).transfer_at(0.01) == 0.6


def test_all_rates_follow_one_cosine_and_count_the_divergences(
    space: Space, tasks: list[DataTask]
) -> None:
    search = make(space, tasks[:2], preset="hard", iterations=4, divergence=1e9)
    shared = search.shared_optimiser
    assert shared is not None
    search.learners[1].factor = 0.25
    for done in range(4):
        rates = [x.optimiser.param_groups[0]["lr"] for x in search.learners]
        expected = 0.001 + 0.024 * (1 + math.cos(math.pi * done / 4)) / 2
        assert shared.param_groups[0]["lr"] == pytest.approx(expected)
        if done:
            assert rates == pytest.approx([expected, expected / 4])
        while search.iteration == done:
            search.advance()


def test_the_last_iteration_has_the_last_temperature(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:1], preset="none", method="gdas", iterations=3)
    found = []
    for done in range(3):
        found.append(search.learners[0].relaxations[1].temperature)  # type: ignore[attr-defined]
        while search.iteration == done:
            search.advance()
    assert found == pytest.approx([10.0, 5.05, 0.1])


def test_entropy_is_the_mean_over_edges(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:1], preset="none")
    shares = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    search.learners[0].alpha[0].data = shares.log() + 2.0
    assert search._entropy() == pytest.approx(float(-(shares * shares.log()).sum()) / 2, rel=1e-5)


# Cost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rounds", "steps", "every"), [(1, 1, 1), (2, 1, 4), (3, 2, 2)])
def test_counted_passes_equal_the_formula(
    space: Space, tasks: list[DataTask], rounds: int, steps: int, every: int
) -> None:
    t, k = 8, len(tasks)
    search = make(space, tasks, rounds=rounds, steps=steps, match_every=every, iterations=t)
    calls = {"passes": 0}
    for learner in search.learners:
        learner.encoder.register_forward_hook(
            lambda *_: calls.__setitem__("passes", calls["passes"] + 1)
        )
    search.run()
    cost = search.cost
    assert cost.training_passes == t * rounds * k * steps
    assert cost.validation_passes == t * k
    matched = t * steps * (rounds * k - 1) / every
    assert cost.student_passes == cost.teacher_passes
    assert abs(cost.student_passes - matched) <= rounds * k  # whole steps of each stage
    assert calls["passes"] == cost.passes + cost.student_passes + cost.teacher_passes
    assert cost.images == 8 * cost.passes
    assert cost.matched_images == 2 * 4 * 4 * cost.student_passes


def test_with_offload_two_encoders_are_at_hand(space: Space, tasks: list[DataTask]) -> None:
    plain, search = make(space, tasks), make(space, tasks, offload=True)
    for learner in search.learners:
        learner.resident = False
        original: Callable[[torch.device], None] = learner.place

        def place(at: torch.device, x: Any = learner, original: Any = original) -> None:
            original(at)
            x.resident = at is search.device  # here both places are the CPU

        learner.place = place  # type: ignore[method-assign]
    resident = []
    while not search.done:
        search.advance()
        resident.append(sum(x.resident for x in search.learners))
    plain.run()
    assert max(resident) == 2
    assert equal(plain, search)


@pytest.mark.parametrize(
    "settings", [{}, {"method": "pc-darts"}, {"hyper": "film"}, {"order": "similar"}]
)
def test_with_offload_nothing_mixes_the_two_memories(
    space: Space, tasks: list[DataTask], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a search nor in phase 2, whose networks are measured in the end."""
    at = SimpleNamespace(device=ACCELERATOR, fabric=workplace("cpu", "32-true").fabric)
    for module in (algorithm, phase2):
        monkeypatch.setattr(module, "workplace", lambda *_: at)
    given = InterleaveSettings(**{**SMALL, "match_every": 1, "offload": True, **settings})
    with two_memories():
        search = Interleaving(tasks, space, given, skeleton={})
        search.run()
        trained = Interleaving(
            tasks, space, phase2.at_fixed(given, Recipe(batch_size=8), 1), skeleton={},
            architecture=search.derive(),
        )  # fmt: skip
        trained.run()
        found = phase2.finished(trained)
    assert [x.task for x in found] == [t.name for t in tasks]
    plain = make(space, tasks, **{"match_every": 1, **settings})
    plain.run()
    assert equal(plain, search)


# Normalisation and balance ------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["chance", "initial", "ema", "none", "gradnorm"])
def test_scaling_one_loss_changes_nothing_where_losses_are_normalised(
    space: Space, tasks: list[DataTask], rule: str
) -> None:
    moved = []
    for scale in (1.0, 100.0):
        search = make(space, tasks, preset="none", rounds=1, normalise=rule, iterations=3,
                      learning_rate=0.0, least_learning_rate=0.0)  # fmt: skip
        learner = search.learners[0]
        learner.kind = Scaled(learner.kind, scale)
        learner.chance = learner.kind.chance(learner.task)
        search.level3.normaliser.chance = [x.chance for x in search.learners]
        search.run()
        moved.append(learner.alpha[0].detach().clone())
    assert torch.allclose(*moved, rtol=1e-4, atol=1e-9) == (rule != "none")


class Scaled:
    """A kind whose losses are so many times as large."""

    def __init__(self, kind: Any, scale: float) -> None:
        self.kind, self.scale, self.score = kind, scale, kind.score

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        out: Tensor = self.scale * self.kind.loss(output, targets)
        return out

    def chance(self, task: DataTask) -> float:
        return self.scale * float(self.kind.chance(task))


def test_a_uniform_predictor_is_at_chance(tasks: list[DataTask], space: Space) -> None:
    learner = make(space, tasks).learners[0]
    balanced = learner.kind.loss(torch.zeros(16, 3), torch.zeros(16, dtype=torch.int64))
    assert float(balanced) == pytest.approx(math.log(3))
    assert learner.chance == pytest.approx(math.log(3), rel=1e-2)
    normaliser = Normaliser("chance", [math.log(3)])
    assert float(balanced) / normaliser.divisor(0, balanced) == pytest.approx(1.0)


def test_conflicting_gradients_lose_what_conflicts() -> None:
    balance = Balance("pcgrad", 2, 0.1, seed=0)
    g = {0: torch.tensor([1.0, 0.0]), 1: torch.tensor([-1.0, 1.0])}
    found = balance.join(g, {0: 1.0, 1: 1.0}, {0: 1.0, 1: 1.0})
    # Worked out by hand: (1/2, 1/2) + (0, 1).
    torch.testing.assert_close(found, torch.tensor([0.5, 1.5]))
    agreeing = {0: torch.tensor([1.0, 0.0]), 1: torch.tensor([1.0, 1.0])}
    plain = Balance("equal", 2, 0.1, seed=0).join(agreeing, {0: 1.0, 1: 1.0}, {0: 0.5, 1: 0.5})
    torch.testing.assert_close(balance.join(agreeing, {0: 1.0, 1: 1.0}, {0: 0.5, 1: 0.5}), plain)


def test_a_running_mean_of_losses_begins_at_the_first() -> None:
    normaliser, losses = Normaliser("ema", [None, None]), [2.0, 3.0, 7.0]
    found = [normaliser.divisor(1, torch.tensor(loss)) for loss in losses]
    wanted = []
    for n in range(1, 4):
        weights = [0.99 ** (n - 1 - i) for i in range(n)]
        wanted.append(sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights))
    assert found == pytest.approx(wanted)
    assert normaliser.divisor(0, torch.tensor(5.0)) == pytest.approx(5.0)
    first = Normaliser("initial", [None])
    assert [first.divisor(0, torch.tensor(loss)) for loss in losses] == [2.0] * 3
    assert first.divisor(1, torch.tensor(5.0)) == 5.0
    assert Normaliser("chance", [2.0, 3.0]).divisor(1, torch.tensor(5.0)) == 3.0


def test_conflicts_are_taken_against_weighted_gradients_as_they_were_given() -> None:
    """Three in a plane, of which any two conflict: by hand, whichever order is drawn."""
    share = {0: 0.5, 1: 0.25, 2: 0.125}
    given = {k: share[k] * torch.tensor(v) for k, v in
             enumerate([[1.0, 0.2], [-0.8, 0.9], [-0.7, -1.0]])}  # fmt: skip

    def without(k: int, others: list[int]) -> Tensor:
        g = given[k]
        for j in others:
            g = g - min(0.0, float(g @ given[j])) / float(given[j] @ given[j]) * given[j]
        return g

    rest = {0: [1, 2], 1: [0, 2], 2: [0, 1]}
    wanted = [
        sum(without(k, rest[k][::way]) for k, way in enumerate(ways))
        for ways in itertools.product((1, -1), repeat=3)
    ]
    plain = {k: g / share[k] for k, g in given.items()}
    drawn = set()
    for seed in range(12):
        found = Balance("pcgrad", 3, 0.1, seed).join(plain, dict.fromkeys(range(3), 1.0), share)
        near = [i for i, w in enumerate(wanted) if torch.allclose(found, w, atol=1e-6)]  # type: ignore[arg-type]
        assert near
        drawn.add(near[0])
    assert len(drawn) > 1


def test_cosines_are_of_all_pairs() -> None:
    vectors = [torch.tensor(v) for v in ([1.0, 0.0], [1.0, 1.0], [0.0, -3.0])]
    half = math.sqrt(0.5)
    assert cosines(vectors) == pytest.approx([half, 0.0, -half], abs=1e-6)
    assert math.isnan(cosines([vectors[0], torch.zeros(2)])[0])
    assert cosines(vectors[:1]) == []


def test_uncertainty_weights_settle_at_one_over_the_loss() -> None:
    balance = Balance("uncertainty", 2, 0.1, seed=0)
    g = {0: torch.ones(1), 1: torch.ones(1)}
    for _ in range(2000):
        joint = balance.join(g, {0: 4.0, 1: 0.5}, {0: 0.5, 1: 0.5})
    assert [math.exp(-s) for s in balance.log_variance] == pytest.approx([0.25, 2.0], rel=1e-3)
    assert float(joint) == pytest.approx(0.5 * 2.25, rel=1e-3)


@pytest.mark.parametrize("name", ["snas", "gdas"])
def test_temperatures_are_those_of_a_search_on_one_task(name: str) -> None:
    alone: Any = oneshot.get(name).Settings()
    method = METHODS[name]
    relaxation = method.alpha(torch.Generator())
    found = []
    for done in (0.0, 1.0):
        method.cool(relaxation, done)
        found.append(relaxation.temperature)  # type: ignore[attr-defined]
    assert found == pytest.approx([alone.first_temperature, alone.last_temperature])
