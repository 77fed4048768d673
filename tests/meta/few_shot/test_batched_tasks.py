"""Tasks in a batch give what tasks one by one give: weights, architectures, meta-gradients."""

from __future__ import annotations

import weakref
from dataclasses import replace
from itertools import repeat
from typing import Any, Literal

import numpy as np
import pytest
import torch
from few_shot_toys import Smooth, episodes, in_double
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from transnas.meta.few_shot import Execution, Learner, _execution, methods
from transnas.meta.few_shot.auto_maml import AutoMAML
from transnas.meta.few_shot.decoding import SPACE, one_hot
from transnas.meta.few_shot.derived import decoded_network, inherited
from transnas.meta.few_shot.maml import MAML
from transnas.meta.few_shot.tnas import TNAS
from transnas.networks.few_shot import LOGITS, FewShotSupernet, FourConv
from transnas.tasks import Signature

SIGNATURE = Signature((1, 5, 5), 3)
LAYOUTS = (
    Execution("grouped"),
    Execution("grouped", channels_last=True),
    Execution("grouped", chunk=2),
    Execution("vmap"),
)
CASES = [
    ("maml", 1), ("maml", 2), ("maml++", 1), ("maml++", 2), ("anil", 2), ("reptile", 1),
    ("t-nas", 1), ("auto-maml", 1),
]  # fmt: skip


def learner(method: str, order: int, execution: Execution, steps: int = 2) -> Learner:
    cls = methods.get(method)
    network = FewShotSupernet(SIGNATURE, 2) if cls.searches else FourConv(SIGNATURE, 3)
    settings = cls.Settings(steps=steps, test_steps=steps, inner_rate=0.1, order=order)
    return cls(network, settings, execution)


def gradients(
    method: str, order: int, execution: Execution, tasks: int, steps: int = 1
) -> dict[str, torch.Tensor]:
    one = learner(method, order, execution, steps)
    state = in_double(one.init(0))
    batch = episodes(tasks, SIGNATURE.input_shape)
    found = one.meta_gradient(state, batch, 0, tuple(state.meta))
    fast = one.adapt(state.meta, batch.xs, batch.ys)
    assert bool(found.finite.all())
    return {
        **{f"gradient {n}": g for n, g in found.gradients.items()},
        **{f"adapted {n}": v for n, v in fast.items()},
        "losses": found.losses,
    }


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    for name, value in wanted.items():
        scale = float(value.norm()) + 1e-30
        assert float((found[name] - value).norm()) / scale <= 1e-10 or scale < 1e-12, name


@pytest.mark.parametrize(("method", "order"), CASES)
@pytest.mark.parametrize("tasks", [1, 3])
def test_batched_equals_sequential(method: str, order: int, tasks: int) -> None:
    steps = 1 if methods.get(method).searches else 2
    wanted = gradients(method, order, Execution("loop"), tasks, steps)
    for execution in LAYOUTS if tasks > 1 else LAYOUTS[:1]:
        assert_equal(gradients(method, order, execution, tasks, steps), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["maml", "t-nas"])
def test_batched_equals_sequential_for_eight_tasks_second_order(method: str) -> None:
    steps = 3 if method == "maml" else 1
    wanted = gradients(method, 2, Execution("loop"), 8, steps)
    assert_equal(gradients(method, 2, Execution("grouped"), 8, steps), wanted)


def test_permuting_tasks_permutes_results_and_tasks_do_not_mix() -> None:
    one = learner("t-nas", 1, Execution("grouped"))
    state = in_double(one.init(0))
    batch = episodes(3, SIGNATURE.input_shape)
    fast = one.adapt(state.meta, batch.xs, batch.ys)
    order = torch.tensor([2, 0, 1])
    turned = one.adapt(state.meta, batch.xs[order], batch.ys[order])
    xs = batch.xs.clone()
    xs[1] = 0.5 * xs[1] + 1
    other = one.adapt(state.meta, xs, batch.ys)
    for name, value in fast.items():
        torch.testing.assert_close(turned[name], value[order], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(other[name][[0, 2]], value[[0, 2]], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(other[LOGITS][1], fast[LOGITS][1])


def test_a_task_that_is_not_finite_is_skipped_and_counted() -> None:
    one = learner("maml", 2, Execution("grouped"))
    batch = episodes(3, SIGNATURE.input_shape)
    state = in_double(one.init(0))
    good = one.meta_gradient(state, batch[0:1], 0, tuple(state.meta))
    rest = one.meta_gradient(state, batch[2:3], 0, tuple(state.meta))
    batch.xs[1, 0, 0, 0, 0] = float("nan")
    found = one.meta_gradient(state, batch, 0, tuple(state.meta))
    assert found.finite.tolist() == [True, False, True]
    for name, gradient in found.gradients.items():
        mean = (good.gradients[name] + rest.gradients[name]) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-9, atol=1e-12)
    one.meta_step(state, [batch], 0)
    assert state.skipped == 1
    before = {name: value.clone() for name, value in state.meta.items()}
    batch.xs[:] = float("nan")
    one.meta_step(state, [batch], 0)
    assert state.skipped == 4
    assert all(torch.equal(before[name], value) for name, value in state.meta.items())


def test_automatic_layout_is_one_of_the_exact_ones() -> None:
    one = Learner(Smooth(SIGNATURE))
    state = in_double(one.init(0))
    one.resolve(state, episodes(2, SIGNATURE.input_shape))
    assert one.execution.layout in ("loop", "grouped")


def test_automatic_layout_takes_fewer_tasks_at_a_time_where_that_is_faster() -> None:
    def step(candidate: Execution) -> float:
        size = 20 if candidate.chunk == 3 else 400
        return float((torch.ones(size, size) @ torch.ones(size, size)).sum())

    cpu = torch.device("cpu")
    assert _execution.choose(Execution(), step, cpu, True, cached=3).chunk == 3
    assert _execution.choose(Execution(), step, cpu, True, cached=None).chunk is None
    assert _execution.choose(Execution(chunk=5), step, cpu, False, cached=3).chunk == 5


def test_bytes_of_an_image_are_those_of_its_maps() -> None:
    """Each of four blocks keeps at least its convolution's output, for the normalisation."""
    network = FourConv(Signature((1, 28, 28), 5), 16)
    found = _execution.image_bytes(network, network.init(torch.Generator().manual_seed(0)))
    maps = sum(side * side * 16 * 4 for side in (28, 14, 7, 3))
    assert maps < found < 20 * maps


class Memory(TorchDispatchMode):
    """Counts the bytes of all tensors that were made and are not freed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = op(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.peak = max(self.peak, sum(self.sizes.values()))
                    weakref.finalize(storage, self.sizes.pop, storage._cdata, None)
        return found


@pytest.mark.parametrize(
    ("method", "order"), [("maml", 1), ("maml", 2), ("maml++", 1), ("maml++", 2), ("reptile", 1)]
)
def test_a_task_takes_no_more_memory_than_is_set_aside(method: str, order: int) -> None:
    """A quarter of the free memory is given to tasks, so a third more than was said is no harm."""
    cls, signature = methods.get(method), Signature((1, 28, 28), 3)
    settings = cls.Settings(steps=5, order=order)
    one = cls(FourConv(signature, 16), settings, Execution("grouped", chunk=1))
    state, batch = one.init(0), episodes(1, signature.input_shape, query=10)
    batch = replace(batch, xs=batch.xs.float(), xq=batch.xq.float())
    with Memory() as memory:
        one.meta_gradient(state, batch, 0, tuple(state.meta))
    assert memory.peak < 1.4 * one._task_bytes(state.meta, batch)


def test_auto_maml_logits_get_the_query_gradient_alone() -> None:
    one = learner("auto-maml", 1, Execution("grouped"))
    assert isinstance(one, AutoMAML)
    state = in_double(one.init(0))
    batch = episodes(3, SIGNATURE.input_shape)
    found = one.meta_gradient(state, batch, 0, (LOGITS,)).gradients[LOGITS]
    wanted = torch.zeros_like(found)
    for b in range(3):
        part = batch[b : b + 1]
        fast = one.adapt(state.meta, part.xs, part.ys)
        logits = fast[LOGITS].clone().requires_grad_()
        outputs = one.outputs({**fast, LOGITS: logits}, part.xq, 1)
        wanted += torch.autograd.grad(one.network.loss(outputs, part.yq).sum(), logits)[0][0] / 3
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)


def test_auto_maml_logits_see_neither_support_losses_nor_the_order_of_tasks() -> None:
    """The published code adds support losses, and counts the first task most."""
    network = FewShotSupernet(SIGNATURE, 2)
    batch, order = episodes(3, SIGNATURE.input_shape), torch.tensor([2, 0, 1])
    turned = replace(batch, **{n: getattr(batch, n)[order] for n in ("xs", "ys", "xq", "yq")})
    others = replace(batch, ys=batch.ys.flip(1))
    for rate, same in ((0.0, True), (0.1, False)):
        settings = AutoMAML.Settings(steps=2, inner_rate=rate)
        one = AutoMAML(network, settings, Execution("grouped"))
        state = in_double(one.init(0))
        found, moved, relabelled = (
            one.meta_gradient(state, tasks, 0, (LOGITS,)).gradients[LOGITS]
            for tasks in (batch, turned, others)
        )
        torch.testing.assert_close(moved, found, rtol=1e-10, atol=1e-14)
        assert torch.allclose(relabelled, found, rtol=1e-10, atol=1e-14) == same


@pytest.mark.parametrize("inner", ["joint", "alternating"])
def test_t_nas_without_logit_rates_is_maml_on_the_mixture(
    inner: Literal["joint", "alternating"],
) -> None:
    settings = TNAS.Settings(
        steps=2, inner_rate=0.1, logits_rate=0.0, outer_logits_rate=0.0, inner=inner
    )
    tnas = TNAS(FewShotSupernet(SIGNATURE, 2), settings, Execution("grouped"))
    state = in_double(tnas.init(0))
    batch = episodes(2, SIGNATURE.input_shape)
    fixed = AutoMAML(tnas.network, AutoMAML.Settings(steps=2, inner_rate=0.1), tnas.execution)
    weights = tuple(name for name in state.meta if name != LOGITS)
    one = tnas.meta_gradient(state, batch, 0, weights).gradients
    two = fixed.meta_gradient(state, batch, 0, weights).gradients
    for name in weights:
        torch.testing.assert_close(one[name], two[name], rtol=1e-10, atol=1e-14)


class Unscaled(MAML):
    """Leaves the scales and shifts of the cells, which a supernet has not, at one and zero."""

    def adapts(self, name: str) -> bool:
        """See `Learner.adapts`."""
        return not (name.startswith("cells") and name.endswith((".scale", ".shift")))


@pytest.mark.parametrize("order", [1, 2])
def test_t_nas_with_one_operation_an_edge_is_maml_on_the_decoded_network(order: int) -> None:
    """Without pooling, whose normalisation the supernet has alone; at any rate of the logits."""
    settings = TNAS.Settings(steps=2, inner_rate=0.1, logits_rate=30.0, order=order)
    tnas = TNAS(FewShotSupernet(SIGNATURE, 2), settings, Execution("grouped"))
    state, batch = in_double(tnas.init(0)), episodes(2, SIGNATURE.input_shape)
    rng = np.random.default_rng(0)
    arch = next(
        arch for arch in map(SPACE.sample, repeat(rng)) if "pool" not in SPACE.to_text(arch)
    )
    state.meta[LOGITS].data = one_hot([arch], tnas.network)[0].double()
    maml = Unscaled(
        decoded_network(arch, tnas.network),
        Unscaled.Settings(steps=2, inner_rate=0.1, order=order),
        tnas.execution,
    )
    decoded = maml.init(0)
    own = inherited(arch, tnas.network, state.meta)
    for name, value in decoded.meta.items():
        value.data = own.get(name, value).double()
    wanted = maml.meta_gradient(decoded, batch, 0, tuple(own)).gradients
    found = tnas.meta_gradient(state, batch, 0, tuple(state.meta)).gradients
    assert not bool(found[LOGITS].any())
    kept = inherited(arch, tnas.network, found)
    assert kept.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(kept[name], gradient, rtol=1e-9, atol=1e-12)
    total = sum(float(g.abs().sum()) for n, g in kept.items() if n.startswith("cells"))
    assert total == pytest.approx(
        sum(float(g.abs().sum()) for n, g in found.items() if n.startswith("cells"))
    ), "operations that were not kept have a gradient"
