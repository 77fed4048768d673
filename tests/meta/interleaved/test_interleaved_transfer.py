"""Transfer terms, matched sets, hypernetworks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from interleaved_toys import stripes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from transnas.meta.interleaved import InterleaveSettings, Interleaving
from transnas.meta.interleaved.hyper import ChunkedHyper, FilmHyper
from transnas.meta.interleaved.matching import Matched, Matcher, adapt_channels, fit_to
from transnas.meta.interleaved.mmd import gram, mmd2
from transnas.meta.interleaved.transfer import TERMS, Side, pair_loss, scaled
from transnas.spaces import Space
from transnas.tasks import DataTask, Signature

SMALL = {"batch_size": 8, "anchors": 2, "views": 4, "iterations": 4}
SETS, VIEWS = 6, 4


def side(net: nn.Module, project: Any = lambda z: z) -> Side:
    return Side(net, dict(net.named_parameters()), project)


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5)).double()


def sets(seed: int = 0, count: int = SETS, views: int = VIEWS) -> Matched:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, 1, 1, 4, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, views, 1, 4, 4, generator=generator, dtype=torch.float64)
    images = (centres + 0.3 * noise).flatten(0, 1)
    return Matched(images, images, count, count // 2)


def test_the_loss_is_the_double_loop_of_its_definition() -> None:
    teacher, student, matched = net(0), net(1), sets()
    settings = InterleaveSettings()
    loss, logs = TERMS["match"](side(student), side(teacher), matched, settings)
    distances = []
    for network in (teacher, student):
        z = scaled(network(matched.student)).detach()
        parts = z.view(SETS, VIEWS, -1)
        squares = [float(((a - b) ** 2).sum()) for i, a in enumerate(z) for b in z[:i]]
        median = torch.tensor(squares, dtype=torch.float64).median()

        def kernel(d: Tensor, median: Tensor = median) -> Tensor:
            return sum(torch.exp(-d / (2 * s * median)) for s in (0.25, 0.5, 1, 2, 4)) / 5  # type: ignore[return-value]

        distances.append(
            [
                float(mmd2(parts[i], parts[j], kernel))  # type: ignore[arg-type]
                for i in range(SETS)
                for j in range(i + 1, SETS)
            ]
        )
    theirs, ours = (torch.tensor(d, dtype=torch.float64) for d in distances)
    labels = (theirs < torch.quantile(theirs, 0.5)).double()
    scores = (torch.quantile(ours, 0.5) - ours) / ours.std()
    expected = F.binary_cross_entropy_with_logits(scores, labels)
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-9)
    assert float(logs["positive"]) == pytest.approx(0.5, abs=1 / len(labels))
    crossing = [(i < 3) != (j < 3) for i in range(SETS) for j in range(i + 1, SETS)]
    wanted = sum(bool(y) and c for y, c in zip(labels, crossing, strict=True))
    assert float(logs["crossing"]) == wanted


@pytest.mark.parametrize("threshold", ["quantile", "null"])
def test_labels_do_not_depend_on_the_scale_of_features(threshold: str) -> None:
    teacher, student = (net(seed).requires_grad_(False) for seed in (0, 1))
    matched, settings = sets(), InterleaveSettings(threshold=threshold)
    found = []
    for factor in (1.0, 10.0):
        larger = Side(lambda x, f=factor: f * teacher(x), {}, lambda z: z)
        found.append(TERMS["match"](side(student), larger, matched, settings)[0])
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-9)


def test_sets_of_one_anchor_are_alike_under_the_null_rule() -> None:
    settings = InterleaveSettings(threshold="null")
    alike = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(10, 1, 6, generator=generator, dtype=torch.float64)
        z = centres.repeat_interleave(2, 0) + 0.3 * torch.randn(
            20, 8, 6, generator=generator, dtype=torch.float64
        )
        from transnas.meta.interleaved.mmd import block_mmd2, half_mmd2
        from transnas.meta.interleaved.transfer import threshold

        kernel = gram(z.flatten(0, 1))
        found = block_mmd2(kernel, 20)
        bound = threshold(found.flatten(), half_mmd2(kernel, 20), settings)
        alike += [bool(found[i, i + 1] < bound) for i in range(0, 20, 2)]
    assert sum(alike) / len(alike) >= 0.9


def test_the_published_threshold_labels_everything_alike() -> None:
    settings = InterleaveSettings(preset="published-constants")
    assert (settings.views, settings.threshold, settings.threshold_value) == (20, "absolute", 5.0)
    (said,) = settings.remarks()
    assert "threshold_value 5 lies outside" in said
    assert "carries no knowledge" in said
    assert not InterleaveSettings(threshold="absolute", threshold_value=0.1).remarks()
    assert not InterleaveSettings().remarks()
    _, logs = TERMS["match"](side(net(1)), side(net(0)), sets(views=20), settings)
    assert float(logs["positive"]) == 1.0


def test_the_loss_can_be_learnt() -> None:
    """Agreement of student and teacher on fresh sets, before and after 150 steps."""
    teacher, student, settings = net(0), net(1), InterleaveSettings()
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    agreement = []
    for step in range(150):
        matched = sets(seed=step, count=20, views=8)
        with torch.no_grad():
            z = teacher(matched.teacher)
        loss, logs = TERMS["match"](
            side(student), Side(lambda x, z=z: z, {}, lambda z: z), matched, settings
        )
        agreement.append(float(logs["agreement"]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert sum(agreement[-20:]) / 20 > sum(agreement[:20]) / 20 + 0.08


def test_the_other_terms_are_what_they_say() -> None:
    teacher, student = (net(seed).requires_grad_(False) for seed in (0, 1))
    matched, settings = sets(), InterleaveSettings()
    found, _ = TERMS["soft"](side(student), side(teacher), matched, settings)
    flat = [torch.cat([p.flatten() for p in n.parameters()]) for n in (student, teacher)]
    assert float(found) == pytest.approx(float(((flat[0] - flat[1]) ** 2).mean()))
    found, _ = TERMS["distil"](side(student), side(teacher), matched, settings)
    z = student(matched.student) - teacher(matched.student)
    assert float(found) == pytest.approx(float((z**2).sum(1).mean()))
    found, _ = TERMS["example"](side(student), side(teacher), matched, settings)
    cosines = []
    for network in (teacher, student):
        z = F.normalize(network(matched.student[::VIEWS]), dim=1)
        cosines.append(
            torch.stack([1 - z[i] @ z[j] for i in range(SETS) for j in range(i + 1, SETS)])
        )
    medians = [torch.quantile(c, 0.5) for c in cosines]
    expected, _ = pair_loss(cosines[0], medians[0], cosines[1], medians[1], soft=False)
    assert float(found) == pytest.approx(float(expected))


def test_soft_labels_are_high_where_the_teacher_is_below_its_threshold() -> None:
    theirs, ours = torch.tensor([0.1, 0.4, 0.9]), torch.tensor([0.3, 0.2, 0.8])
    bounds = torch.tensor(0.5), torch.tensor(0.25)
    loss, labels = pair_loss(theirs, bounds[0], ours, bounds[1], soft=True)
    torch.testing.assert_close(labels, torch.sigmoid((0.5 - theirs) / theirs.std()))
    chance = torch.sigmoid((0.25 - ours) / ours.std())
    entropy = -labels * chance.log() - (1 - labels) * (1 - chance).log()
    assert float(loss) == pytest.approx(float(entropy.mean()), rel=1e-5)
    flat = torch.full((3,), 0.4)
    _, labels = pair_loss(flat, torch.tensor(0.4002), ours, bounds[1], soft=True)
    torch.testing.assert_close(labels, torch.sigmoid(torch.full((3,), 2.0)), rtol=1e-3, atol=0)


def test_augmented_pictures_are_jittered_and_have_one_square_cut_out() -> None:
    """Of a constant picture, moves and mirrors change nothing but a border of zeros."""
    colour = stripes("colour", channels=3, side=16)
    matcher = Matcher(colour, 3, 5, "both", torch.Generator().manual_seed(0))
    value = 2.0
    found = matcher._augment(torch.full((400, 3, 16, 16), value), False)
    empty = (found == 0).all(1)
    assert empty.flatten(1).sum(1).tolist() == [16] * 400
    rows, columns = empty.any(2), empty.any(1)
    assert rows.sum(1).tolist() == columns.sum(1).tolist() == [4] * 400
    assert {int(r.int().argmax()) for r in rows} == {int(c.int().argmax()) for c in columns}
    assert {int(r.int().argmax()) for r in rows} == set(range(13))
    # The middle, where no border comes; of each picture, one contrast and a brightness a channel.
    middle = found.where(~empty[:, None], torch.nan)[:, :, 6:10, 6:10].flatten(2).nanmedian(2)[0]
    middle = middle[~middle.isnan().any(1)]
    assert float((middle - value).abs().max()) <= 0.2 * value + 0.2
    assert float(middle.std(1).mean()) == pytest.approx(0.2 / math.sqrt(3), rel=0.15)
    means = middle.mean(1) - value
    variance = (0.2 * value) ** 2 / 3 + 0.2**2 / 9
    assert float(means.std()) == pytest.approx(math.sqrt(variance), rel=0.15)


def test_matched_sets_hold_the_same_pixels_of_both_tasks() -> None:
    grey, colour = stripes("grey"), stripes("colour", channels=3, side=12)
    matcher = Matcher(colour, 3, 5, "both", torch.Generator().manual_seed(0))
    found = matcher.draw(grey)
    assert found.student.shape == (30, 3, 12, 12)
    assert found.teacher.shape == (30, 1, 12, 12)
    assert (found.sets, found.from_previous) == (6, 3)
    assert torch.equal(found.teacher, adapt_channels(found.student, 1))
    assert int(found.crosses().sum()) == 2 * 9
    views = found.student.reshape(6, 5, -1)
    assert all(not torch.equal(v[0], v[1]) for v in views)
    for sources, count in (("previous", 3), ("current", 0)):
        only = Matcher(colour, 3, 5, sources, torch.Generator()).draw(grey)
        assert (only.sets, only.from_previous) == (3, count)


def test_images_are_fitted_to_the_student() -> None:
    images = torch.randn(2, 1, 28, 28)
    assert fit_to(images, Signature((3, 16, 16), 5)).shape == (2, 3, 16, 16)
    assert fit_to(images, Signature((1, 28, 28), 5)) is images
    constant = fit_to(torch.full((1, 1, 28, 28), 2.0), Signature((1, 7, 7), 5))
    torch.testing.assert_close(constant, torch.full((1, 1, 7, 7), 2.0))


def test_large_pictures_are_matched_at_64_pixels() -> None:
    wide = DataTask.from_datasets(
        "wide",
        *(TensorDataset(torch.rand(4, 1, 96, 192), torch.arange(4) % 2) for _ in range(2)),
    )
    matcher = Matcher(wide, 2, 2, "both", torch.Generator().manual_seed(0))
    assert matcher.draw(stripes("grey")).student.shape == (8, 1, 32, 64)


# Hypernetworks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "chunk", "hidden", "expected"),
    [(1_930_618, 4096, 64, 290_240), (1_930_618, 2048, 32, 90_896), (1_930_618, 4096, 16, 81_296)],
)
def test_the_chunked_form_has_the_published_number_of_parameters(
    size: int, chunk: int, hidden: int, expected: int
) -> None:
    hyper = ChunkedHyper(224, 5, size, chunk, hidden)
    assert sum(p.numel() for p in hyper.parameters()) == expected + 16 * 5


@pytest.mark.parametrize("form", ["chunked", "film"])
def test_generated_weights_are_their_closed_forms(form: str) -> None:
    torch.manual_seed(0)
    base = {"a": torch.randn(3, 2, 3, 3), "b": torch.randn(4, 5)}
    a, k = torch.rand(6), 1
    hyper = (
        ChunkedHyper(6, 2, 74, 10, 7) if form == "chunked" else FilmHyper(6, 2, base, 7)
    ).requires_grad_(False)
    for p in hyper.out.parameters():
        p.copy_(torch.randn_like(p))

    def out(*codes: Tensor) -> Tensor:
        hidden: Tensor = hyper.hidden(torch.cat([a, hyper.tasks[k], *codes]))
        found: Tensor = hyper.out(hidden.relu())
        return found

    he = {"a": math.sqrt(2 / 18), "b": math.sqrt(2 / 5)}
    if isinstance(hyper, ChunkedHyper):
        flat = torch.cat([out(code) for code in hyper.chunks])
        assert len(flat) == 80
        parts = {"a": flat[:54].view(3, 2, 3, 3), "b": flat[54:74].view(4, 5)}
        wanted = {n: w + he[n] * parts[n] for n, w in base.items()}
    else:
        gamma, beta = out()[:7], out()[7:]
        wanted = {
            "a": (1 + gamma[:3]).view(3, 1, 1, 1) * base["a"] + he["a"] * beta[:3].view(3, 1, 1, 1),
            "b": (1 + gamma[3:])[:, None] * base["b"] + he["b"] * beta[3:][:, None],
        }
    found = hyper(a, k, base)
    for name, w in wanted.items():
        torch.testing.assert_close(found[name], w)


@pytest.mark.parametrize("form", ["chunked", "film"])
def test_it_starts_as_the_plain_network_and_every_generated_weight_gets_a_gradient(
    space: Space, tasks: list[DataTask], form: str
) -> None:
    options = {**SMALL, "hyper_chunk": 50}
    plain, search = (
        Interleaving(
            tasks, space, InterleaveSettings(**options, hyper=hyper), skeleton={}, device="cpu"
        )
        for hyper in ("off", form)
    )
    x, own = search.learners[0], plain.learners[0]
    images, _ = own.train.next()
    generated = x.generated(path=True)
    assert generated is not None
    with torch.no_grad():
        expected = own.encoder(images, own.mix())
        found = x.encoder.call(images, x.mix(), generated)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert all("stem" not in name for name in generated)
    total = sum((w * torch.randn_like(w)).sum() for w in generated.values())
    assert isinstance(total, Tensor)
    total.backward()
    assert x.hyper is not None
    assert bool(x.hyper.out.weight.grad.any())  # type: ignore[union-attr, operator]
    search.run()
    after = [learner.generated(path=True) for learner in search.learners[:2]]
    assert all(
        not torch.equal(a, b) for a, b in zip(*(g.values() for g in after if g), strict=True)
    )
    # The architecture's gradient runs through the generated weights where it is asked to.
    (grad,) = torch.autograd.grad(sum((w**2).sum() for w in after[0].values()), x.alpha[0])  # type: ignore[union-attr, arg-type]
    assert bool(grad.any())
    assert isinstance(x.hyper, (ChunkedHyper, FilmHyper))
    constant = x.generated(path=False)
    assert constant is not None
    loss = sum((w**2).sum() for w in constant.values())
    assert torch.autograd.grad(loss, x.alpha[0], allow_unused=True)[0] is None  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["off", "chunked", "film"])
def test_a_task_that_teaches_itself_starts_its_stage_at_its_teacher(
    space: Space, tasks: list[DataTask], form: str
) -> None:
    settings = InterleaveSettings(
        **SMALL, preset="soft", transfer_weight=1.0, match_every=1, hyper=form, hyper_chunk=50
    )
    search = Interleaving(tasks[:1], space, settings, skeleton={}, device="cpu")
    search.run()
    transfers = [point["tasks"]["a"]["transfer/2"] for point in search.history.points]
    assert transfers == [0.0] * 4


@pytest.mark.parametrize(("batch", "every"), [(64, 16), (256, 4), (512, 4), (100, 11)])
def test_matched_images_are_a_sixth_of_the_training_images_at_most(batch: int, every: int) -> None:
    settings = InterleaveSettings(batch_size=batch)
    assert settings.match_every == every
    assert 2 * 10 * 8 / (every * batch) <= 0.15625
    assert InterleaveSettings(batch_size=batch, match_every=3).match_every == 3
    assert InterleaveSettings(batch_size=batch, preset="published").match_every == 1
