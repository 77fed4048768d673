"""Few-shot networks against published sizes and against networks of ordinary modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import InputError
from transnas.networks.darts import Cell
from transnas.networks.darts_supernet import MODE, MixedCell
from transnas.networks.few_shot import (
    BatchStatistics,
    DecodedNetwork,
    FewShotNetwork,
    FewShotSupernet,
    FourConv,
    FusedStatistics,
    SupportStatistics,
    run,
)
from transnas.networks.operations import Mode
from transnas.networks.relaxations import Softmax
from transnas.spaces.darts import DARTS, OPERATIONS, Genotype
from transnas.tasks import Signature

_SHORT = {
    "avg": "avg_pool_3x3", "max": "max_pool_3x3", "skip": "skip_connect", "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
}  # fmt: skip
AUTO_MAML = {
    23_213: (
        "avg-0 avg-1 avg-1 avg-2 avg-1 avg-2 dil3-3 avg-2",
        "avg-0 dil5-1 avg-0 dil5-1 skip-3 dil5-2 skip-4 skip-3",
    ),
    26_061: (
        "dil5-1 dil5-0 dil5-2 dil3-1 sep5-2 sep3-3 skip-4 dil3-3",
        "sep5-0 avg-1 avg-1 skip-2 skip-2 avg-1 skip-2 max-1",
    ),
}
"""Published cells of Auto-MAML by the parameters of their network."""


def published(count: int) -> Genotype:
    texts = []
    for kind, text in zip(("normal", "reduce"), AUTO_MAML[count], strict=True):
        pairs = [word.split("-") for word in text.split()]
        listed = ", ".join(f"('{_SHORT[op]}', {state})" for op, state in pairs)
        texts.append(f"{kind}=[{listed}], {kind}_concat=[2, 3, 4, 5]")
    return Genotype.parse(f"Genotype({', '.join(texts)})")


def parameters(net: FewShotNetwork, tasks: int, seed: int = 0) -> dict[str, Tensor]:
    """Return float64 parameters that differ from task to task."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.stack([net.draw(name, generator) for _ in range(tasks)]).double()
        + 0.3 * torch.randn(tasks, *shape, generator=generator, dtype=torch.float64)
        for name, shape in net.shapes.items()
    }


def images(tasks: int, count: int, signature: Signature) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(
        tasks, count, *signature.input_shape, generator=generator, dtype=torch.float64
    )


MINI, OMNIGLOT = Signature((3, 84, 84), 5), Signature((1, 28, 28), 5)
SMALL = Signature((2, 25, 25), 3)


def test_published_sizes() -> None:
    assert FourConv(MINI, 32).count == 32_901
    assert FourConv(OMNIGLOT, 64).count == 112_261
    assert FourConv(MINI, 48).count == 70_085
    assert FewShotSupernet(MINI).count == 201_181
    assert FewShotSupernet(MINI).shapes["logits"] == (28, 8)
    for count in AUTO_MAML:
        assert DecodedNetwork(published(count), MINI).count == count


class ModuleStem(nn.Module):
    """The stem of the two-cell networks for 25-pixel images: one pooling."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3 * channels // 2, 3, padding=1, bias=False)
        self.second = nn.Conv2d(3 * channels // 2, 3 * channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(w) for w in (3 * channels // 2, 3 * channels)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.norms[0](self.first(x)), 2))
        out: Tensor = self.norms[1](self.second(x))
        return out


def load(module: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        parameter.data = values[name].reshape(parameter.shape)


def stem_values(own: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {"first.weight": own["stem.0.weight"], "second.weight": own["stem.1.weight"]}
    for i in (0, 1):
        found[f"norms.{i}.weight"] = own[f"stem.{i}.norm.scale"]
        found[f"norms.{i}.bias"] = own[f"stem.{i}.norm.shift"]
    return found


SKIPS = Genotype.parse(
    "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('dil_conv_5x5', 2), "
    "('max_pool_3x3', 0), ('avg_pool_3x3', 3), ('skip_connect', 1), ('sep_conv_5x5', 4), "
    "('skip_connect', 2)], normal_concat=[2, 3, 4, 5], reduce=[('skip_connect', 0), "
    "('skip_connect', 1), ('max_pool_3x3', 0), ('skip_connect', 1), ('dil_conv_3x3', 2), "
    "('skip_connect', 0), ('skip_connect', 3), ('avg_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
"""Identities in both cells, of stride 2 too."""


@pytest.mark.parametrize("genotype", [published(26_061), SKIPS], ids=["published", "skips"])
def test_decoded_network_equals_modules(genotype: Genotype) -> None:
    space, channels = DARTS(), 4
    net = DecodedNetwork(genotype, SMALL, channels)
    tasks = 2
    values, x = parameters(net, tasks), images(tasks, 3, SMALL)
    found = run(net, values, x, BatchStatistics())
    for b in range(tasks):
        own = {name: value[b] for name, value in values.items()}
        stem = ModuleStem(channels).double()
        load(stem, stem_values(own))
        older = newer = stem(x[b])
        widths = (3 * channels, 3 * channels)
        for i, plan in enumerate((genotype.normal, genotype.reduce)):
            inner = channels * (1 + i)
            cell = Cell(
                plan, widths, inner, reduces=i == 1, previous_reduces=False, mode=Mode()
            ).double()
            renamed = {
                n.removeprefix(f"cells.{i}.")
                .replace(".scale", ".weight")
                .replace(".shift", ".bias")
                .replace("older.weight", "older.conv.weight")
                .replace("newer.weight", "newer.conv.weight"): v
                for n, v in own.items()
                if n.startswith(f"cells.{i}.")
            }
            dilated = [f"edges.{e}" for e, (_, op) in enumerate(plan_pairs(plan)) if "dil" in op]
            final = {}
            for n, v in renamed.items():
                short = n
                if any(n.startswith(f"{edge}.") for edge in dilated):
                    short = n.replace(".first.", ".")
                for part in ("depthwise", "pointwise"):
                    if short.endswith(part):
                        short += ".weight"
                final[short] = v
            load(cell, final)
            older, newer = newer, cell(older, newer)
            widths = widths[1], 4 * inner
        out = newer.mean(dim=(2, 3)) @ own["head.weight"].T + own["head.bias"]
        torch.testing.assert_close(found[b], out, rtol=1e-10, atol=1e-10)
    assert space.from_genotype(genotype)


def plan_pairs(plan: object) -> list[tuple[int, str]]:
    return [pair for block in plan.blocks for pair in block.pairs]  # type: ignore[attr-defined]


def test_supernet_equals_modules() -> None:
    channels, tasks = 4, 2
    net = FewShotSupernet(SMALL, channels)
    values, x = parameters(net, tasks), images(tasks, 3, SMALL)
    found = run(net, values, x, BatchStatistics())
    for b in range(tasks):
        own = {name: value[b] for name, value in values.items()}
        stem = ModuleStem(channels).double()
        load(stem, stem_values(own))
        older = newer = stem(x[b])
        widths = (3 * channels, 3 * channels)
        for i in (0, 1):
            inner = channels * (1 + i)
            cell = MixedCell(
                OPERATIONS, widths, inner, reduces=i == 1, previous_reduces=False
            ).double()
            load_mixed(cell, own, i)
            mix = Softmax()(own["logits"])
            older, newer = newer, cell(older, newer, mix)
            widths = widths[1], 4 * inner
        out = newer.mean(dim=(2, 3)) @ own["head.weight"].T + own["head.bias"]
        torch.testing.assert_close(found[b], out, rtol=1e-10, atol=1e-10)
    assert MODE.pool_bn


def load_mixed(cell: MixedCell, own: dict[str, Tensor], index: int) -> None:
    """Copy packed parameters of a cell's sources into the modules of its edges."""
    for name, parameter in cell.named_parameters():
        parts = name.split(".")
        if parts[0] in ("older", "newer"):
            value = own[f"cells.{index}.{parts[0]}.weight"]
        else:  # sources.<state>.edges.<row>.<operation>.[first|second.]<part>.weight
            state, row, op = int(parts[1]), int(parts[3]), parts[4]
            rows = list(cell.sources[state].rows)
            e = rows.index(row)
            if op == "skip_connect":
                key = f"skip_connect.{parts[5]}"
            else:
                key = f"{op}.{1 if 'second' in parts else 0}.{parts[-2]}"
            value = own[f"cells.{index}.sources.{state}.{key}"][e]
        parameter.data = value.reshape(parameter.shape)


@pytest.mark.parametrize("net", [FourConv(SMALL, 4), FewShotSupernet(SMALL, 2)], ids=["4conv", "2"])
@pytest.mark.parametrize("tasks", [1, 3])
def test_layouts_agree_and_tasks_do_not_mix(net: FewShotNetwork, tasks: int) -> None:
    values, x = parameters(net, tasks), images(tasks, 4, SMALL)
    grouped = run(net, values, x, BatchStatistics())
    for b in range(tasks):
        one = {name: value[b : b + 1] for name, value in values.items()}
        alone = run(net, one, x[b : b + 1], BatchStatistics())[0]
        torch.testing.assert_close(grouped[b], alone, rtol=1e-10, atol=1e-12)
    last = run(net, values, x, BatchStatistics(), channels_last=True)
    torch.testing.assert_close(grouped, last, rtol=1e-10, atol=1e-12)
    mapped = run(net, values, x, BatchStatistics(), "vmap")
    torch.testing.assert_close(grouped, mapped, rtol=1e-10, atol=1e-12)


def test_four_convolutions_equal_modules() -> None:
    net, tasks = FourConv(SMALL, 4), 2
    values, x = parameters(net, tasks), images(tasks, 5, SMALL)
    found = run(net, values, x, BatchStatistics())
    for b in range(tasks):
        y = x[b]
        for layer in range(4):
            own = {
                name.removeprefix(f"layers.{layer}."): value[b]
                for name, value in values.items()
                if name.startswith(f"layers.{layer}.")
            }
            y = F.conv2d(y, own["weight"], own["bias"], padding=1)
            y = F.batch_norm(y, None, None, own["norm.scale"], own["norm.shift"], training=True)
            y = F.max_pool2d(F.relu(y), 2)
        assert y.shape == (5, 4, 1, 1)
        out = y.flatten(1) @ values["head.weight"][b].T + values["head.bias"][b]
        torch.testing.assert_close(found[b], out, rtol=1e-10, atol=1e-10)


def test_losses_and_accuracies_are_of_each_task() -> None:
    net, generator = FourConv(SMALL, 4), torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 6, 3, generator=generator)
    labels = torch.randint(0, 3, (4, 6), generator=generator)
    losses, accuracies = net.loss(outputs, labels), net.accuracy(outputs, labels)
    for b in range(4):
        torch.testing.assert_close(losses[b], F.cross_entropy(outputs[b], labels[b]))
        right = [int(o.argmax() == y) for o, y in zip(outputs[b], labels[b], strict=True)]
        assert float(accuracies[b]) == pytest.approx(sum(right) / 6)


def test_parameters_are_drawn_as_torchs_layers_draw_them() -> None:
    net, generator = FewShotSupernet(SMALL, 16), torch.Generator().manual_seed(0)
    drawn = net.init(generator)
    assert {name: tuple(value.shape) for name, value in drawn.items()} == net.shapes
    fans = {
        "stem.1.weight": 24 * 9,
        "cells.0.sources.0.sep_conv_5x5.0.depthwise": 25,
        "cells.0.sources.0.sep_conv_5x5.0.pointwise": 16,
        "head.weight": 128,
    }
    for name, fan in fans.items():
        assert 0.9 * fan**-0.5 < float(drawn[name].abs().max()) <= fan**-0.5, name
    assert float(drawn["logits"].std()) == pytest.approx(1e-3, rel=0.2)
    assert bool((drawn["stem.0.norm.scale"] == 1).all())
    assert not drawn["stem.0.norm.shift"].any()
    assert not drawn["head.bias"].any()


def test_support_statistics_do_not_see_queries() -> None:
    net = FourConv(SMALL, 4)
    values, x = parameters(net, 2), images(2, 8, SMALL)
    whole = run(net, values, x, SupportStatistics(5))
    torch.testing.assert_close(
        whole[:, :5], run(net, values, x[:, :5], BatchStatistics()), rtol=1e-9, atol=1e-9
    )
    changed = x.clone()
    changed[:, 6:] = 7.0
    other = run(net, values, changed, SupportStatistics(5))
    torch.testing.assert_close(whole[:, :6], other[:, :6], rtol=1e-12, atol=1e-12)


def test_bad_input() -> None:
    net = FourConv(SMALL, 4)
    with pytest.raises(InputError, match=r"images have shape \(2, 24, 25\)"):
        run(net, parameters(net, 1), torch.zeros(1, 2, 2, 24, 25).double(), BatchStatistics())
    with pytest.raises(InputError, match="channels 3 is not accepted"):
        FewShotSupernet(SMALL, 3)
    with pytest.raises(InputError, match="poolings 3 is not accepted; accepted: 0, 1 and 2"):
        FewShotSupernet(SMALL, 4, poolings=3)


class Sides(BatchStatistics):
    """Keeps the size of the maps that each normalisation sees."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}

    def __call__(
        self, name: str, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        self.found[name] = x.shape[-1]
        return super().__call__(name, x, scale, shift)


@pytest.mark.parametrize(("poolings", "side"), [(0, 28), (1, 14), (2, 7), (None, 14)])
def test_stem_halves_the_map_as_often_as_asked(poolings: int | None, side: int) -> None:
    net = DecodedNetwork(published(23_213), Signature((1, 28, 28), 5), 4, poolings)
    sides = Sides()
    run(net, parameters(net, 1), torch.randn(1, 2, 1, 28, 28).double(), sides)
    assert sides.found["cells.1.newer.norm"] == side


def test_larger_images_are_pooled_more_often() -> None:
    for side, poolings in ((23, 0), (24, 1), (63, 1), (64, 2)):
        assert FewShotSupernet(Signature((1, side, 99), 5), 2).poolings == poolings


@pytest.mark.parametrize("side", [24, 25])
@pytest.mark.parametrize("searched", [True, False])
def test_compiled_edges_equal_torch(side: int, searched: bool) -> None:
    """Single precision against double; kinks are avoided by comparing outputs and one gradient."""
    signature = Signature((2, side, side), 3)
    net = (
        FewShotSupernet(signature, 8)
        if searched
        else DecodedNetwork(published(26_061), signature, 8)
    )
    leaf = "logits" if searched else "cells.1.edges.0.second.norm.scale"
    exact, x = parameters(net, 2), images(2, 4, signature)
    single = {name: value.float() for name, value in exact.items()}
    if not net.fuses(x.float()):
        pytest.skip("no compiler for the kernel")
    found = {}
    for name, values, norm in (
        ("compiled", single, FusedStatistics()),
        ("torch", single, BatchStatistics()),
        ("exact", exact, BatchStatistics()),
    ):
        own = {n: v.clone().requires_grad_() for n, v in values.items()}
        outputs = run(net, own, x.to(own[leaf].dtype), norm, channels_last=True)
        (gradient,) = torch.autograd.grad(outputs.logsumexp(dim=2).sum(), own[leaf])
        found[name] = outputs.detach().double(), gradient.double()
    wanted = found["exact"]
    for value, truth in zip(found["compiled"], wanted, strict=True):
        assert float((value - truth).norm() / truth.norm()) < 1e-3
    assert not torch.equal(found["compiled"][0], found["torch"][0]), "the kernel did not run"
