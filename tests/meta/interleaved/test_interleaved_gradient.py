"""Gradient paths of level III: by hand on a scalar toy, and by finite differences on a search."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from transnas.meta.interleaved import InterleaveSettings, Interleaving, transfer
from transnas.meta.interleaved.gradient import Step, Weights, finite_difference, unrolled
from transnas.meta.interleaved.matching import Matched, Matcher
from transnas.meta.interleaved.objective import part_of
from transnas.oneshot._streams import Stream
from transnas.spaces import Space
from transnas.tasks import DataTask

XI, LAMBDA, C = 0.1, 0.6, (0.3, -0.2)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def chain(alpha: Tensor, start: tuple[float, float] = (0.5, -0.4)) -> list[Step]:
    """L_k = (w_k - alpha - c_k)^2 / 2, Omega = (w_2 - w_1)^2 / 2, one step each."""
    steps: list[Step] = []
    for k, w in enumerate(start):

        def loss(
            weights: Weights, teacher: Weights | None, at: Weights | None = None, k: int = k
        ) -> Tensor:
            own = 0.5 * (weights["w"] - alpha - C[k]) ** 2
            return own if teacher is None else own + LAMBDA * 0.5 * (
                weights["w"] - teacher["w"]
            ) ** 2  # fmt: skip

        before = {"w": scalar(w)}
        previous = steps[-1] if steps else None
        teacher = None if previous is None else previous.after
        leaf = {"w": scalar(w).requires_grad_()}
        (g,) = torch.autograd.grad(loss(leaf, teacher), leaf["w"])
        steps.append(Step(before, {"w": before["w"] - XI * g}, XI, loss, None, previous))
    return steps


@pytest.mark.parametrize(
    ("depth", "expected"), [(0, XI), (1, XI + LAMBDA * XI**2)], ids=["last", "chain:1"]
)
def test_the_toy_has_the_derivatives_worked_out_by_hand(depth: int, expected: float) -> None:
    alpha = scalar(0.7).requires_grad_()
    steps = chain(alpha)
    (first,) = torch.autograd.grad(unrolled(steps[0])["w"], alpha)
    (second,) = torch.autograd.grad(unrolled(steps[1], depth)["w"], alpha)
    assert float(first) == pytest.approx(XI, abs=1e-14)
    assert float(second) == pytest.approx(expected, abs=1e-14)
    assert torch.equal(unrolled(steps[1], depth)["w"].detach(), steps[1].after["w"])


def test_many_steps_approach_the_exact_inner_optimum() -> None:
    """w_1* = a + c_1, w_2* = (a + c_2 + lambda w_1*) / (1 + lambda), so d w_2* / d a = 1."""
    moved = []
    for alpha in (0.0, 1.0):
        w = torch.zeros(2, dtype=torch.float64)
        for _ in range(400):
            w[0] -= XI * (w[0] - alpha - C[0])
            w[1] -= XI * (w[1] - alpha - C[1] + LAMBDA * (w[1] - w[0]))
        moved.append(w)
    torch.testing.assert_close(moved[1] - moved[0], torch.ones(2, dtype=torch.float64))


class Doubled:
    """A stream whose images are in double precision."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def next(self) -> tuple[Tensor, Tensor]:
        images, labels = self.stream.next()
        return images.double(), labels


def searched(space: Space, tasks: list[DataTask], **options: Any) -> Interleaving:
    """Return a search in double precision with plain steps, all its stages done, alpha next."""
    settings = InterleaveSettings(
        iterations=4, batch_size=8, match_every=1, anchors=2, views=4, transfer_ramp=0.0,
        learning_rate=0.3, momentum=0.0, weight_decay=0.0, gradient_clip=1e9, **options,
    )  # fmt: skip
    search = Interleaving(tasks[:2], space, settings, skeleton={}, device="cpu")
    search.learners[0].alpha[0].data = torch.linspace(-0.4, 0.5, 6, dtype=torch.float64).view(2, 3)
    for learner in search.learners:
        for module in (learner.encoder, learner.head, learner.project):
            module.double()
        learner.train, learner.validation = Doubled(learner.train), Doubled(learner.validation)  # type: ignore[assignment]
        learner.matcher = DoubledMatcher(learner.matcher)  # type: ignore[assignment]
    while search.units[search.position] is not None:
        search.advance()
    return search


def test_a_recorded_step_is_the_one_that_was_taken(space: Space, tasks: list[DataTask]) -> None:
    """With a clipped gradient too: after = start - rate * gradient."""
    settings = InterleaveSettings(
        preset="none", paths="last", iterations=4, batch_size=8, momentum=0.0, weight_decay=0.0,
        learning_rate=0.3, gradient_clip=0.05,
    )  # fmt: skip
    search = Interleaving(tasks[:1], space, settings, skeleton={}, device="cpu")
    search.advance()
    step = search.stage_step.step_of(0)
    assert step is not None
    start = {n: w.clone().requires_grad_() for n, w in step.start.items()}
    gradients = torch.autograd.grad(step.loss(start, None), list(start.values()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    assert float(length) > 0.1
    assert step.rate == pytest.approx(0.3 * 0.05 / float(length), rel=1e-4)
    for (name, w), g in zip(step.start.items(), gradients, strict=True):
        torch.testing.assert_close(step.after[name], w - step.rate * g, rtol=1e-4, atol=1e-7)


class DoubledMatcher:
    """A matcher whose images are in double precision."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher = matcher

    def draw(self, previous: DataTask) -> Matched:
        found = self.matcher.draw(previous)
        return found._replace(student=found.student.double(), teacher=found.teacher.double())


def repeated(step: Step, depth: int) -> dict[str, Tensor]:
    """Take the recorded steps again, at the present alpha: what `unrolled` differentiates."""
    teacher = step.teacher
    if step.previous is not None:
        teacher = repeated(step.previous, depth - 1) if depth > 0 else dict(step.previous.after)
    start = {n: w.detach().clone().requires_grad_() for n, w in step.start.items()}
    loss = step.loss(start, teacher)
    gradients = torch.autograd.grad(loss, list(start.values()), allow_unused=True)
    return {
        n: w.detach() if g is None else (w - step.rate * g).detach()
        for (n, w), g in zip(start.items(), gradients, strict=True)
    }


PATHS = [
    {"paths": "last", "preset": "none"},
    {"paths": "last", "preset": "joint", "transfer_weight": 0.7},
    {"paths": "last", "preset": "published"},
    {"paths": "chain:1", "preset": "soft", "transfer_weight": 5.0},
    {"paths": "chain:2", "preset": "distil", "transfer_weight": 0.7},
    {"paths": "chain:3", "preset": "joint", "transfer_weight": 0.7, "soft_labels": True},
]


@pytest.mark.parametrize("options", PATHS, ids=lambda o: f"{o['paths']} {o['preset']}")
def test_unrolled_gradients_agree_with_finite_differences(
    space: Space, tasks: list[DataTask], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the gradient leaves out by definition is held still: thresholds, bandwidth, spread.
    options = {**options, "kernel_scale": 0.5, "threshold": "absolute", "threshold_value": 0.02}
    monkeypatch.setattr(transfer, "_temperature", lambda values: torch.full_like(values[0], 0.05))
    search = searched(space, tasks, **options)
    learner, step = search.learners[1], search.stage_step.step_of(1)
    assert step is not None
    alpha, depth = learner.alpha[0], search.settings.chain_depth
    images, labels = learner.validation.next()

    def loss(weights: dict[str, Tensor]) -> Tensor:
        parts = part_of(weights, "encoder"), part_of(weights, "head")
        return learner.kind.loss(learner.output((images, labels), learner.mix(), *parts), labels)

    (exact,) = torch.autograd.grad(loss(unrolled(step, depth)), alpha)
    (direct,) = torch.autograd.grad(loss(dict(step.after)), alpha)
    numeric, h = torch.zeros_like(alpha), 1e-5
    for i in range(alpha.numel()):
        sides = []
        for move in (h, -2 * h):
            alpha.data.view(-1)[i] += move
            sides.append(float(loss(repeated(step, depth)).detach()))
        alpha.data.view(-1)[i] += h
        numeric.view(-1)[i] = (sides[0] - sides[1]) / (2 * h)
    torch.testing.assert_close(exact, numeric, rtol=1e-5, atol=1e-8)
    assert not torch.allclose(exact, direct, rtol=1e-3, atol=0)


def test_the_architecture_moves_along_the_whole_chain(space: Space, tasks: list[DataTask]) -> None:
    options = {
        "paths": "chain:2", "preset": "distil", "transfer_weight": 0.7, "normalise": "none",
    }  # fmt: skip
    search, twin = (searched(space, tasks, **options) for _ in range(2))
    moved = search.level3._task_gradient(search.learners[1])
    assert moved is not None
    learner, step = twin.learners[1], twin.stage_step.step_of(1)
    assert step is not None
    images, labels = learner.validation.next()
    gradients = []
    for depth in (0, 1, 2):
        weights = unrolled(step, depth)
        parts = part_of(weights, "encoder"), part_of(weights, "head")
        loss = learner.kind.loss(learner.output((images, labels), learner.mix(), *parts), labels)
        gradients.append(torch.autograd.grad(loss, learner.alpha[0])[0].flatten())
    torch.testing.assert_close(moved[0], gradients[2], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(gradients[1], gradients[2], rtol=1e-6, atol=0)


def test_finite_difference_products_agree_on_a_smooth_network(
    space: Space, tasks: list[DataTask]
) -> None:
    search = searched(space, tasks, paths="last", preset="soft", transfer_weight=5.0)
    learner, step = search.learners[0], search.stage_step.step_of(0)
    assert step is not None
    alpha = learner.alpha[0]
    generator = torch.Generator().manual_seed(0)
    direction = {
        n: torch.randn(w.shape, generator=generator, dtype=w.dtype) for n, w in step.start.items()
    }
    (found,) = finite_difference(step, direction, [alpha])
    after = unrolled(step)
    product = sum((after[n] * v).sum() for n, v in direction.items())
    assert isinstance(product, Tensor)
    (exact,) = torch.autograd.grad(product, alpha)
    torch.testing.assert_close(found, -exact, rtol=1e-3, atol=1e-7)


PRODUCTS = [
    {"preset": "none"},
    {"preset": "soft", "transfer_weight": 5.0},
    {"preset": "distil", "transfer_weight": 0.7},
    {"preset": "joint", "transfer_weight": 0.7},
    {"preset": "joint", "transfer_weight": 0.7, "soft_labels": True, "threshold": "null"},
    {"preset": "published", "transfer_weight": 0.7},
    {"preset": "example", "transfer_weight": 0.7},
]


@pytest.mark.parametrize("options", PRODUCTS, ids=lambda o: "-".join(map(str, o.values())))
def test_both_products_move_the_architecture_alike(
    space: Space, tasks: list[DataTask], options: dict[str, Any]
) -> None:
    moved = []
    for given in ({"hvp": "exact"}, {"hvp": "fd"}, {"paths": "direct"}):
        search = searched(
            space, tasks, **{"paths": "last", "normalise": "none", **given, **options}
        )
        found = search.level3._task_gradient(search.learners[1])
        assert found is not None
        moved.append(found[0])
    # What the path adds is small beside the direct term, so it is compared alone.
    exact, differences = moved[0] - moved[2], moved[1] - moved[2]
    assert float((exact - differences).norm()) < 1e-3 * float(exact.norm())
