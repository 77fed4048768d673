"""Meta-gradients against finite differences, closed forms and published behaviour."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from few_shot_toys import Smooth, episodes, in_double
from torch import Tensor

from transnas import InputError
from transnas.meta.few_shot import Execution, Learner, MetaGradient, State
from transnas.meta.few_shot.anil import ANIL
from transnas.meta.few_shot.auto_maml import AutoMAML
from transnas.meta.few_shot.maml import MAML
from transnas.meta.few_shot.maml_plus import MAMLPlus, multi_step_weights
from transnas.meta.few_shot.reptile import Reptile
from transnas.meta.few_shot.settings import MAMLPlusSettings, Settings, TNASSettings
from transnas.meta.few_shot.tnas import TNAS
from transnas.networks.few_shot import LOGITS, FewShotNetwork, Norm, Params
from transnas.tasks import Signature
from transnas.tasks.episodes import EpisodeBatch

SIGNATURE = Signature((1, 6, 6), 3)
GROUPED = Execution("grouped")


def objective(learner: Learner, meta: dict[str, Tensor], batch: EpisodeBatch) -> float:
    """Return the whole outer objective at these meta-parameters."""
    state = learner.init(0)
    for name, value in meta.items():
        state.meta[name].data = value
    return float(learner.meta_gradient(state, batch, 99, (next(iter(meta)),)).losses.mean())


def slope_errors(learner: Learner, steps: list[float]) -> list[float]:
    """Return relative errors of a directional derivative for central differences of these steps."""
    batch = episodes(3, SIGNATURE.input_shape)
    state = in_double(learner.init(0))
    generator = torch.Generator().manual_seed(4)
    direction = {
        n: torch.randn(v.shape, generator=generator, dtype=torch.float64)
        for n, v in state.meta.items()
    }
    found = learner.meta_gradient(state, batch, 99, tuple(state.meta)).gradients
    slope = sum(float((found[n] * direction[n]).sum()) for n in found)
    errors = []
    for h in steps:
        ends = [
            objective(learner, {n: v + s * h * direction[n] for n, v in state.meta.items()}, batch)
            for s in (1, -1)
        ]
        errors.append(abs((ends[0] - ends[1]) / (2 * h) - slope) / abs(slope))
    return errors


def test_second_order_equals_finite_differences_of_the_whole_objective() -> None:
    settings = Settings(steps=3, inner_rate=0.3, order=2)
    coarse, fine = slope_errors(MAML(Smooth(SIGNATURE), settings, GROUPED), [1e-3, 1e-4])
    assert fine <= 1e-6
    assert 80 < coarse / fine < 120, "the error of central differences is quadratic"
    first = MAML(Smooth(SIGNATURE), Settings(steps=3, inner_rate=0.3, order=1), GROUPED)
    assert slope_errors(first, [1e-5])[0] > 0.01, "first order is another gradient"


@pytest.mark.parametrize("multi_step_epochs", [0, 200])
def test_maml_plus_equals_finite_differences(multi_step_epochs: int) -> None:
    settings = MAMLPlusSettings(
        steps=2, inner_rate=0.3, order=2, multi_step_epochs=multi_step_epochs
    )
    assert slope_errors(MAMLPlus(Smooth(SIGNATURE), settings, GROUPED), [1e-5])[0] <= 1e-6


class Quadratic(FewShotNetwork):
    """L = |w - c|^2_H / 2 with c the mean of a task's inputs [n, d]; outputs carry w - c."""

    curvature = torch.diag(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))

    def __init__(self) -> None:
        super().__init__(Signature((3,), 1))
        self.shapes = {"w": (3,)}

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        centre = x.mean(dim=0).view(-1, 3)
        return (params["w"] - centre)[:, None]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Half of the squared norm."""
        gap = outputs[:, 0]
        return torch.einsum("bi,ij,bj->b", gap, self.curvature, gap) / 2

    def accuracy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Nothing is classified."""
        return torch.zeros(len(outputs), dtype=torch.float64)


def quadratic_tasks() -> EpisodeBatch:
    xs = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    none = torch.zeros(4, 2, dtype=torch.int64)
    return EpisodeBatch(xs, none, xs, none, 0, none, none)


@pytest.mark.parametrize("order", [1, 2])
def test_closed_form_of_quadratic_tasks(order: int) -> None:
    a, steps, batch = 0.3, 3, quadratic_tasks()
    learner = MAML(Quadratic(), Settings(steps=steps, inner_rate=a, order=order), GROUPED)
    state = learner.init(0)
    state.meta["w"].data = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    h = Quadratic.curvature
    shrink = torch.matrix_power(torch.eye(3, dtype=torch.float64) - a * h, steps)
    gap = state.meta["w"] - batch.xs.mean(dim=(0, 1))
    wanted = h @ shrink @ gap if order == 1 else shrink @ h @ shrink @ gap
    found = learner.meta_gradient(state, batch, 0, ("w",)).gradients["w"]
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-15)
    state.meta["w"].data = batch.xs.mean(dim=(0, 1))
    rest = learner.meta_gradient(state, batch, 0, ("w",)).gradients["w"]
    assert float(rest.abs().max()) < 1e-14


def test_learnt_rates_multiply_per_step() -> None:
    settings = MAMLPlusSettings(steps=3, order=2, multi_step_epochs=0, step_norms=False)
    learner, batch = MAMLPlus(Quadratic(), settings, GROUPED), quadratic_tasks()
    state = learner.init(0)
    rates = torch.tensor([0.1, 0.4, -0.2], dtype=torch.float64)
    state.meta["w"].data = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    state.meta["rates.w"].data = rates
    h, eye = Quadratic.curvature, torch.eye(3, dtype=torch.float64)
    shrink = (eye - rates[0] * h) @ (eye - rates[1] * h) @ (eye - rates[2] * h)
    gap = state.meta["w"] - batch.xs.mean(dim=(0, 1))
    found = learner.meta_gradient(state, batch, 0, ("w", "rates.w")).gradients
    torch.testing.assert_close(found["w"], shrink @ h @ shrink @ gap, rtol=1e-12, atol=1e-14)
    assert bool((found["rates.w"] != 0).all())


@pytest.mark.parametrize(("steps", "rate", "order"), [(0, 0.3, 1), (3, 0.0, 1), (3, 0.0, 2)])
def test_without_adaptation_it_is_ordinary_training(steps: int, rate: float, order: int) -> None:
    learner = MAML(Smooth(SIGNATURE), Settings(steps, 1, rate, order=order), GROUPED)
    state, batch = in_double(learner.init(0)), episodes(3, SIGNATURE.input_shape)
    found = learner.meta_gradient(state, batch, 0, tuple(state.meta)).gradients
    shared = {n: v.clone().requires_grad_() for n, v in state.meta.items()}
    start = {n: v.expand(3, *v.shape) for n, v in shared.items()}
    loss = learner.network.loss(learner.outputs(start, batch.xq, 0), batch.yq).mean()
    for name, gradient in zip(
        shared, torch.autograd.grad(loss, list(shared.values())), strict=True
    ):
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-13)


def test_multi_step_weights() -> None:
    for steps, epochs in ((5, 15), (5, 10), (3, 4)):
        for epoch in range(epochs):
            weights = multi_step_weights(steps, epoch, epochs)
            assert math.isclose(sum(weights), 1, abs_tol=1e-12)
            assert min(weights) >= 0.03 / steps - 1e-15
        assert multi_step_weights(steps, 0, epochs) == pytest.approx([1 / steps] * steps)
        assert multi_step_weights(steps, epochs, epochs) == [0.0] * (steps - 1) + [1.0]
    assert multi_step_weights(5, 99, 100)[-1] == pytest.approx(1 - 4 * 0.03 / 5)
    assert multi_step_weights(4, 3, 12) == pytest.approx([3 / 16] * 3 + [7 / 16])


@pytest.mark.parametrize(("epoch", "order"), [(1, 1), (2, 2)])
def test_derivatives_are_of_first_order_at_the_start(epoch: int, order: int) -> None:
    batch, found = episodes(2, SIGNATURE.input_shape), []
    for settings in (
        MAMLPlusSettings(steps=2, inner_rate=0.3, order=2, first_order_epochs=2),
        MAMLPlusSettings(steps=2, inner_rate=0.3, order=order),
        MAMLPlusSettings(steps=2, inner_rate=0.3, order=3 - order),
    ):
        learner = MAMLPlus(Smooth(SIGNATURE), settings, GROUPED)
        state = in_double(learner.init(0))
        found.append(learner.meta_gradient(state, batch, epoch, ("one.weight",)).gradients)
    annealed, same, other = (gradients["one.weight"] for gradients in found)
    assert torch.equal(annealed, same)
    assert not torch.allclose(annealed, other, rtol=1e-2)


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_meta_gradients_are_clipped_element_by_element(clip: float) -> None:
    learner = MAML(Smooth(SIGNATURE), Settings(steps=1, inner_rate=0.1, clip=clip), GROUPED)
    state, batch = in_double(learner.init(0)), episodes(2, SIGNATURE.input_shape)
    found = learner.meta_step(state, [batch], 0).gradients
    assert max(float(g.abs().max()) for g in found.values()) > 1e-3
    for name, gradient in found.items():
        wanted = gradient.clamp(-clip, clip) if clip else gradient
        assert torch.equal(state.meta[name].grad, wanted)  # type: ignore[arg-type]


def test_all_parts_off_is_maml() -> None:
    off = MAMLPlusSettings(
        steps=3, inner_rate=0.2, order=2, multi_step_epochs=0, learnt_rates=False,
        step_norms=False, annealed_to=None,
    )  # fmt: skip
    plain = MAML(Smooth(SIGNATURE), Settings(steps=3, inner_rate=0.2, order=2), GROUPED)
    plus = MAMLPlus(Smooth(SIGNATURE), off, GROUPED)
    batch = episodes(2, SIGNATURE.input_shape)
    states = [in_double(one.init(0)) for one in (plain, plus)]
    one, two = (
        learner.meta_gradient(state, batch, 0, tuple(state.meta)).gradients
        for learner, state in zip((plain, plus), states, strict=True)
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert plus.outer_rate(50) == off.outer_rate
    annealed = MAMLPlus(Smooth(SIGNATURE), MAMLPlusSettings(epochs=10), GROUPED)
    assert annealed.outer_rate(0) == pytest.approx(1e-3)
    assert annealed.outer_rate(5) == pytest.approx((1e-3 + 1e-5) / 2)
    assert annealed.outer_rate(10) == pytest.approx(1e-5)


def test_a_step_uses_its_own_normalisation() -> None:
    settings = MAMLPlusSettings(steps=3, order=2, multi_step_epochs=0, inner_rate=0.2)
    learner = MAMLPlus(Smooth(SIGNATURE), settings, GROUPED)
    state, batch = in_double(learner.init(0)), episodes(2, SIGNATURE.input_shape)
    fast = learner.adapt(state.meta, batch.xs, batch.ys, 1)
    moved = {n: v.clone() for n, v in state.meta.items()}
    moved["one.norm.scale"][1:] += 1
    other = learner.adapt(moved, batch.xs, batch.ys, 1)
    assert torch.equal(fast["head.weight"], other["head.weight"]), "step 0 saw step 1's scale"
    assert torch.equal(fast["one.norm.scale"][0], state.meta["one.norm.scale"]), "not adapted"
    moved["one.norm.scale"][0] += 1
    changed = learner.adapt(moved, batch.xs, batch.ys, 1)
    assert not torch.equal(fast["head.weight"], changed["head.weight"])


@pytest.mark.parametrize(("test_steps", "step"), [(1, 0), (2, 1), (3, 2), (5, 2)])
def test_a_query_uses_the_normalisation_of_the_last_step(test_steps: int, step: int) -> None:
    settings = MAMLPlusSettings(steps=3, test_steps=test_steps, inner_rate=0.2)
    learner = MAMLPlus(Smooth(SIGNATURE), settings, GROUPED)
    state, batch = in_double(learner.init(0)), episodes(2, SIGNATURE.input_shape)
    for i in range(3):
        state.meta["one.norm.scale"][i] *= 1 + i
    fast = learner.adapt(state.meta, batch.xs, batch.ys)
    wanted = learner.outputs(fast, batch.xq, step)
    torch.testing.assert_close(learner.predict(fast, batch.xs, batch.xq), wanted)


def test_which_statistics_normalise_queries() -> None:
    settings = MAMLPlusSettings(steps=2, inner_rate=0.1)
    learner = MAMLPlus(Smooth(SIGNATURE), settings, GROUPED)
    state, batch = in_double(learner.init(0)), episodes(2, SIGNATURE.input_shape)
    fast = learner.adapt(state.meta, batch.xs, batch.ys)
    poisoned = batch.xq.clone()
    poisoned[:, 1:] = float("nan")
    for statistics, alone in (("batch", False), ("support", True)):
        outputs = learner.predict(fast, batch.xs, batch.xq, statistics)
        other = learner.predict(fast, batch.xs, poisoned, statistics)
        same = bool(torch.allclose(outputs[:, 0], other[:, 0]))
        assert same == alone, statistics
    with pytest.raises(InputError, match="'running' is unknown; accepted: batch, support"):
        learner.predict(fast, batch.xs, batch.xq, "running")


def test_anil_adapts_the_head_alone_and_reptile_moves_towards_tasks() -> None:
    batch = episodes(3, SIGNATURE.input_shape)
    anil = ANIL(Smooth(SIGNATURE), Settings(steps=2, inner_rate=0.3), GROUPED)
    state = in_double(anil.init(0))
    fast = anil.adapt(state.meta, batch.xs, batch.ys)
    changed = {n for n, v in fast.items() if not torch.equal(v[0], state.meta[n])}
    assert changed == {"head.weight", "head.bias"}
    reptile = Reptile(Quadratic(), Reptile.Settings(steps=4, inner_rate=0.3), GROUPED)
    state, tasks = reptile.init(0), quadratic_tasks()
    state.meta["w"].data = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    before = state.meta["w"].clone()
    adapted = reptile.adapt(state.meta, tasks.xs, tasks.ys, 4)["w"]
    reptile.meta_step(state, [tasks], 0)
    wanted = before + 0.3 * (adapted.mean(dim=0) - before)
    torch.testing.assert_close(state.meta["w"], wanted, rtol=1e-12, atol=1e-14)


def test_reptile_descends_on_support_and_queries_together() -> None:
    reptile = Reptile(Quadratic(), Reptile.Settings(steps=2, inner_rate=0.3), GROUPED)
    state, tasks = reptile.init(0), quadratic_tasks()
    tasks = replace(tasks, xq=2 * tasks.xs + 1)
    state.meta["w"].data = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    before = state.meta["w"].clone()
    centre = torch.cat([tasks.xs, tasks.xq], 1).mean(dim=(0, 1))
    reptile.meta_step(state, [tasks], 0)
    kept = torch.matrix_power(torch.eye(3, dtype=torch.float64) - 0.3 * Quadratic.curvature, 2)
    adapted = centre + kept @ (before - centre)
    torch.testing.assert_close(state.meta["w"], before + 0.3 * (adapted - before))


def test_reptile_leaves_out_a_task_that_does_not_stay_finite() -> None:
    reptile = Reptile(Quadratic(), Reptile.Settings(steps=2, inner_rate=0.3), GROUPED)
    state, tasks = reptile.init(0), quadratic_tasks()
    state.meta["w"].data = state.meta["w"].double()
    rest = reptile.meta_gradient(state, tasks[1:], 0, ("w",)).gradients["w"]
    tasks.xs[0] = float("inf")
    found = reptile.meta_gradient(state, tasks, 0, ("w",))
    assert found.finite.tolist() == [False, True, True, True]
    torch.testing.assert_close(found.gradients["w"], rest)


def test_new_tasks_adapt_for_as_many_steps_as_the_settings_say() -> None:
    learner = MAML(Smooth(SIGNATURE), Settings(steps=1, test_steps=3, inner_rate=0.2), GROUPED)
    state, batch = in_double(learner.init(0)), episodes(2, SIGNATURE.input_shape)
    found, wanted = (learner.adapt(state.meta, batch.xs, batch.ys, n) for n in (None, 3))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


class Bilinear(FewShotNetwork):
    """g = theta w, L = g^2 / 2: small enough for hand arithmetic."""

    def __init__(self) -> None:
        super().__init__(Signature((1,), 1))
        self.shapes = {"w": (1,), LOGITS: (1,)}

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        return (params["w"] * params[LOGITS])[:, None]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Half of the square."""
        return outputs[:, 0, 0] ** 2 / 2


def test_alternating_steps_use_the_new_weights() -> None:
    xs = torch.zeros(1, 1, 1, dtype=torch.float64)
    a, b, w, theta = 0.1, 0.2, 2.0, 3.0
    meta = {"w": torch.tensor([w]).double(), LOGITS: torch.tensor([theta]).double()}
    found = {}
    for inner in ("joint", "alternating"):
        settings = TNASSettings(inner_rate=a, logits_rate=b, inner=inner)  # type: ignore[arg-type]
        fast = TNAS(Bilinear(), settings, GROUPED).adapt(meta, xs, xs[..., 0].long(), 1)
        found[inner] = float(fast["w"]), float(fast[LOGITS])
    new = w - a * theta * theta * w
    assert found["joint"] == pytest.approx((new, theta - b * theta * w * w))
    assert found["alternating"] == pytest.approx((new, theta - b * theta * new * new))


@pytest.mark.parametrize("cls", [TNAS, AutoMAML])
def test_the_outer_steps_of_a_search_are_those_of_two_adams(cls: type[TNAS | AutoMAML]) -> None:
    """Weights: the usual betas, no decay; logits: betas 0.5 and 0.999, a decay of 1e-3."""
    settings = cls.Settings(outer_rate=0.1, outer_logits_rate=0.03)
    learner = cls(Bilinear(), settings, GROUPED)
    state = learner.init(0)
    for name, rate, first, decay in (("w", 0.1, 0.9, 0.0), (LOGITS, 0.03, 0.5, 1e-3)):
        value, m, v = 2.0, 0.0, 0.0
        state.meta[name].data = torch.tensor([value], dtype=torch.float64)
        for t, given in enumerate((1.0, -3.0, 0.2), start=1):
            found = MetaGradient(
                {name: torch.tensor([given], dtype=torch.float64)}, *[torch.ones(1).bool()] * 3
            )
            learner.update(state, found, 0)
            gradient = given + decay * value
            m, v = first * m + (1 - first) * gradient, 0.999 * v + 0.001 * gradient**2
            value -= rate * m / (1 - first**t) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        assert float(state.meta[name]) == pytest.approx(value, rel=1e-9)


def test_auto_maml_moves_the_logits_and_then_the_weights_on_other_tasks() -> None:
    """Bilinear tasks: after a step on the support, the query gradients by hand."""
    a, w, theta = 0.1, 2.0, 3.0
    settings = AutoMAML.Settings(
        steps=1, inner_rate=a, outer_rate=0.5, outer_logits_rate=0.25, order=1
    )
    learner = Seen(Bilinear(), settings, GROUPED)
    state = learner.init(0)
    for name, value in (("w", w), (LOGITS, theta)):
        state.meta[name].data = torch.tensor([value]).double()
    one = torch.zeros(1, 1, 1, dtype=torch.float64)
    none = torch.zeros(1, 1, dtype=torch.int64)
    first, second = (EpisodeBatch(one, none, one, none, i, none, none) for i in range(2))
    learner.meta_step(state, [first, second], 0)
    adapted = w - a * theta * theta * w
    assert learner.found[0] == (0, {LOGITS: pytest.approx(theta * adapted**2)})
    new = theta - 0.25
    assert float(state.meta[LOGITS]) == pytest.approx(new)
    assert learner.found[1] == (1, {"w": pytest.approx(new**2 * (w - a * new**2 * w))})
    assert float(state.meta["w"]) == pytest.approx(w - 0.5)


class Seen(AutoMAML):
    """Keeps which tasks each meta-gradient is of, and the gradient."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.found: list[tuple[int, dict[str, float]]] = []

    def meta_gradient(self, state: State, batch: EpisodeBatch, *given: Any) -> MetaGradient:
        """See `Learner.meta_gradient`."""
        found = super().meta_gradient(state, batch, *given)
        self.found.append((batch.first, {n: float(g) for n, g in found.gradients.items()}))
        return found


class Sinusoid(FewShotNetwork):
    """The regression network of MAML's section 5.1: 1-40-40-1 with ReLU and squared error."""

    def __init__(self) -> None:
        super().__init__(Signature((1,), 1))
        sizes = (1, 40, 40, 1)
        for i in range(3):
            self.shapes[f"{i}.weight"] = (sizes[i + 1], sizes[i])
            self.shapes[f"{i}.bias"] = (sizes[i + 1],)

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        out = x.transpose(0, 1)[:, :, None]
        for i in range(3):
            out = torch.baddbmm(
                params[f"{i}.bias"][:, None], out, params[f"{i}.weight"].transpose(1, 2)
            )
            out = out.relu() if i < 2 else out
        return out

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error."""
        return (outputs[:, :, 0] - labels).square().mean(dim=1)

    def accuracy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Minus the error."""
        return -self.loss(outputs, labels)


def sinusoids(tasks: int, shot: int, seed: int, query: int = 10) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    amplitude, phase = uniform(0.1, 5.0, tasks, 1), uniform(0.0, math.pi, tasks, 1)
    xs, xq = uniform(-5, 5, tasks, shot), uniform(-5, 5, tasks, query)
    ys, yq = (amplitude * torch.sin(x - phase) for x in (xs, xq))
    none = torch.zeros(tasks, 1, dtype=torch.int64)
    return EpisodeBatch(xs[..., None], ys, xq[..., None], yq, 0, none, none)


@pytest.mark.slow
def test_sinusoid_regression_reaches_the_published_curve() -> None:
    """Finn et al. 2017, figure 3 and its text: K = 10, one step brings the error to about 0.5."""
    settings = Settings(steps=1, test_steps=1, inner_rate=0.01, order=2)
    learner = MAML(Sinusoid(), settings, GROUPED)
    state = learner.init(0)
    for step in range(6000):
        learner.meta_step(state, [sinusoids(25, 10, step)], 0)
    tests = sinusoids(600, 10, 10**6, 100)
    errors = {}
    for steps in (0, 1, 10):
        fast = learner.adapt(state.meta, tests.xs, tests.ys, steps)
        outputs = learner.predict(fast, tests.xs, tests.xq)
        errors[steps] = float(learner.network.loss(outputs, tests.yq).mean())
    assert errors[0] > 2.5
    assert errors[1] < 0.6  # 0.52 was measured, and 0.19 after ten steps
    assert errors[10] < 0.25
