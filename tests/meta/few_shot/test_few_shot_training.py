"""Meta-training resumes bit for bit, evaluation is honest, decoding follows the rule."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from transnas import InputError
from transnas.meta.few_shot import Diverged, Execution, Plan, Trained, evaluate, meta_train, methods
from transnas.meta.few_shot._inner import Fast
from transnas.meta.few_shot.auto_maml import AutoMAML
from transnas.meta.few_shot.decoding import (
    SPACE,
    decode,
    diversity,
    log_likelihood,
    one_hot,
    samples,
)
from transnas.meta.few_shot.derived import Inheriting, decoded_network, inherited
from transnas.meta.few_shot.intervals import class_interval, episode_interval
from transnas.meta.few_shot.learning import learn
from transnas.meta.few_shot.maml import MAML
from transnas.meta.few_shot.tnas import TNAS
from transnas.networks.few_shot import LOGITS, BatchStatistics, FewShotSupernet, FourConv, run
from transnas.spaces import Architecture
from transnas.spaces._cells import Block
from transnas.tasks import Signature
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeBatch, EpisodeSource, EpisodeSpec

SPEC = EpisodeSpec(3, 2, 3)
DIGITS = Signature((1, 8, 8), 3)
CHANNELS_LAST = Execution("grouped", channels_last=True)


def plan(steps: int, **more: int) -> Plan:
    rhythm = {"validate_every": 4, "validation_episodes": 4, "checkpoint_every": 2}
    return Plan(SPEC, 2, steps, **{**rhythm, **more})  # type: ignore[arg-type]


def train(
    method: str, steps: int, folder: Path | None, seconds: float | None = None, **more: int
) -> Trained:
    cls = methods.get(method)
    network = FewShotSupernet(DIGITS, 2) if cls.searches else FourConv(DIGITS, 4)
    settings = cls.Settings(steps=1, test_steps=1, inner_rate=0.1)
    learner = cls(network, settings, CHANNELS_LAST)
    return meta_train(learner, get_source("digits"), plan(steps, **more), folder, seconds)


@pytest.mark.parametrize("method", ["maml++", "reptile", "t-nas"])
def test_stopped_and_continued_equals_uninterrupted(method: str, tmp_path: Path) -> None:
    whole = train(method, 4, None)
    assert train(method, 4, tmp_path, seconds=0).finished == 1
    parts = train(method, 4, tmp_path)
    for name, array in whole.state.arrays().items():
        assert np.array_equal(array, parts.state.arrays()[name]), name
    assert all(torch.equal(whole.best[name], parts.best[name]) for name in whole.best)
    assert parts.finished == 4


def test_a_continued_training_keeps_its_log_and_its_best(tmp_path: Path) -> None:
    """Stopped in the middle before the last validation, with the best behind it."""
    cls, rhythm = methods.get("maml"), {"validate_every": 2, "checkpoint_every": 1}

    def begin(folder: Path | None, at: Callable[[int], None] | None = None) -> Trained:
        settings = cls.Settings(steps=1, test_steps=1, inner_rate=0.1, outer_rate=3.0)
        learner = cls(FourConv(DIGITS, 4), settings, CHANNELS_LAST)
        return meta_train(learner, get_source("digits"), plan(6, **rhythm), folder, at=at)

    def stop(step: int) -> None:
        if step == 5:
            raise Killed

    whole = begin(None)
    accuracies = [point["validation_accuracy"] for point in whole.log]
    assert accuracies[1] == whole.best_accuracy > accuracies[2]
    with pytest.raises(Killed):
        begin(tmp_path, stop)
    parts = begin(tmp_path)
    assert parts.best_accuracy == whole.best_accuracy
    assert all(torch.equal(whole.best[name], value) for name, value in parts.best.items())
    logs = [[{**point, "seconds": 0.0} for point in one.log] for one in (whole, parts)]
    assert logs[0] == logs[1]
    seconds = [point["seconds"] for point in parts.log]
    assert seconds == sorted(seconds)


class Recording(MAML):
    """MAML that keeps the epoch of every meta-step."""

    def __init__(self, epochs: int) -> None:
        super().__init__(
            FourConv(DIGITS, 2),
            self.Settings(steps=1, test_steps=1, inner_rate=0.1, annealed_to=0.0, epochs=epochs),
            CHANNELS_LAST,
        )
        self.epochs: list[int] = []

    def outer_rate(self, epoch: int) -> float:
        """See `Learner.outer_rate`."""
        self.epochs.append(epoch)
        return super().outer_rate(epoch)


@pytest.mark.parametrize(("steps", "epochs"), [(6, 3), (7, 4), (11, 4), (5, 8)])
def test_epochs_are_equal_parts_of_a_training(steps: int, epochs: int) -> None:
    learner = Recording(epochs)
    meta_train(learner, get_source("digits"), plan(steps, validate_every=steps))
    assert learner.epochs == sorted(learner.epochs)
    counts = [learner.epochs.count(epoch) for epoch in range(epochs)]
    assert sum(counts) == steps
    assert set(counts) <= {steps // epochs, -(-steps // epochs)}


def test_the_outer_rate_falls_to_its_last_value() -> None:
    learner = Recording(2)
    first = learner.settings.outer_rate
    rates = [learner.outer_rate(epoch) for epoch in range(3)]
    assert rates == pytest.approx([first, first / 2, 0.0])


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("t-nas", "annealed_to", -1.0),
        ("t-nas", "annealed_to", float("nan")),
        ("t-nas", "annealed_to", "0.1"),
        ("t-nas", "epochs", 0),
        ("t-nas", "logits_rate", "30"),
        ("maml", "inner_rate", "0.1"),
        ("maml", "inner_rate", True),
        ("maml", "steps", True),
        ("maml", "order", 1.0),
        ("maml++", "steps", 0),
        ("maml++", "multi_step_epochs", "x"),
        ("maml++", "multi_step_epochs", -3),
        ("maml++", "first_order_epochs", -1.5),
        ("maml++", "learnt_rates", "no"),
        ("maml++", "step_norms", 1),
    ],
)
def test_settings_of_no_use_are_refused(method: str, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"setting '{name}' is {value!r}; accepted"):
        methods.get(method).Settings(**{name: value})  # type: ignore[arg-type]


DRIVER = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_few_shot_training import train
torch.set_num_threads(int(sys.argv[3]))  # sums are of the same bits for the same threads only
train("maml", 400, Path(sys.argv[2]))
"""


def reached(folder: Path) -> int:
    """Return the step of the checkpoint in `folder`; 0 if there is none."""
    path = folder / "prior.json"
    return int(json.loads(path.read_text())["step"]) if path.exists() else 0


class Killed(Exception):
    """Ends a training as a signal would."""


def test_an_execution_is_chosen_once(tmp_path: Path) -> None:
    """Also if the first steps are lost, and whatever memory is free when it goes on."""
    cls = methods.get("maml")
    settings = cls.Settings(steps=1, test_steps=1, inner_rate=0.1)

    def begin(
        execution: Execution, at: Callable[[int], None] | None, folder: Path | None
    ) -> Trained:
        learner = cls(FourConv(DIGITS, 4), settings, execution)
        return meta_train(learner, get_source("digits"), plan(4), folder, at=at)

    def stop(step: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        begin(CHANNELS_LAST, stop, tmp_path)
    path = tmp_path / "prior.json"
    told = json.loads(path.read_text())
    assert told["step"] == 0
    assert told["execution"]["chunk"] >= 2, "there is memory for more"
    told["execution"]["chunk"] = 1  # as if little memory had been free at the start
    path.write_text(json.dumps(told))
    rest = begin(CHANNELS_LAST, None, tmp_path)
    small = begin(replace(CHANNELS_LAST, chunk=1), None, None)
    assert rest.learner.execution == small.learner.execution
    assert all(torch.equal(v, rest.state.meta[n]) for n, v in small.state.meta.items())


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = train("maml", 400, None)
    threads = str(torch.get_num_threads())
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", DRIVER, here, str(tmp_path), threads])
    deadline = time.monotonic() + 120
    while not reached(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < reached(tmp_path) < 400, "killed too late to show anything"
    rest = train("maml", 400, tmp_path)
    for name, array in whole.state.arrays().items():
        assert np.array_equal(array, rest.state.arrays()[name]), name


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    train("maml", 2, tmp_path)
    with pytest.raises(InputError, match="of a training with another method"):
        train("anil", 2, tmp_path)
    with pytest.raises(InputError, match="of a training with another plan"):
        train("maml", 2, tmp_path, seed=1)


@pytest.mark.parametrize("change", ["images", "labels", "splits", "rotated", "scale"])
def test_a_training_on_other_data_of_the_same_name_is_not_continued(
    change: str, tmp_path: Path
) -> None:
    train("maml", 2, tmp_path)
    source = get_source("digits")
    others = {
        "images": 16 - source.images,
        "labels": source.labels.flip(0),
        "splits": {**source.splits, "validation": source.splits["test"], "test": (4, 5, 6)},
        "rotated": ("train",),
        "scale": 17.0,
    }
    other = replace(source, **{change: others[change]})  # type: ignore[arg-type]
    cls = methods.get("maml")
    settings = cls.Settings(steps=1, test_steps=1, inner_rate=0.1)
    learner = cls(FourConv(DIGITS, 4), settings, CHANNELS_LAST)
    assert meta_train(learner, source, plan(2), tmp_path).finished == 2
    with pytest.raises(InputError, match="of a training with another source"):
        meta_train(learner, other, plan(2), tmp_path)


def test_a_training_of_another_architecture_is_not_continued(tmp_path: Path) -> None:
    supernet, cls = FewShotSupernet(DIGITS, 2), methods.get("maml")
    settings = cls.Settings(steps=1, test_steps=1, inner_rate=0.1)
    pooled = [one_operation(name) for name in ("max_pool_3x3", "avg_pool_3x3")]
    first, second = (decoded_network(arch, supernet) for arch in pooled)
    assert first.shapes == second.shapes
    meta_train(cls(first, settings, CHANNELS_LAST), get_source("digits"), plan(1), tmp_path)
    with pytest.raises(InputError, match="of a training with another network"):
        meta_train(cls(second, settings, CHANNELS_LAST), get_source("digits"), plan(1), tmp_path)


def one_operation(name: str) -> Architecture:
    """Return the architecture whose nodes all apply one operation to the cell's inputs."""
    block = Block(((0, name), (1, name)))
    return SPACE.from_blocks({kind: [block] * 4 for kind in ("normal", "reduce")})


def test_a_training_that_never_is_finite_ends_with_a_reason() -> None:
    source = get_source("digits")
    poisoned = EpisodeSource(
        "poisoned", source.images, source.labels, source.classes, source.splits, scale=0.0
    )
    learner = methods.get("maml")(FourConv(DIGITS, 2), None, CHANNELS_LAST)
    with pytest.raises(Diverged, match="no task of the last 4 meta-steps stayed finite, 8 were"):
        meta_train(learner, poisoned, plan(20))


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("validation_episodes", 0, 1), ("meta_steps", 2.0, 1), ("tasks", True, 1), ("seed", -1, 0)],
)
def test_plans_of_no_use_are_refused(name: str, value: object, least: int) -> None:
    with pytest.raises(
        InputError, match=f"{name} {value!r} is not accepted; .*whole numbers from {least}"
    ):
        Plan(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("device", "why"), [("cuda:99", "is not there"), ("gpu", "is unknown")])
def test_devices_that_are_not_there_are_refused(device: str, why: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}' {why}"):
        learn("maml", get_source("digits"), QUICK, device=device)


def test_training_checks_its_source_first() -> None:
    wrong = Plan(EpisodeSpec(4, 1, 1), 2, 2)
    learner = methods.get("maml")(FourConv(Signature((1, 8, 8), 4), 2), None, CHANNELS_LAST)
    with pytest.raises(InputError, match="way 4 is more than the 3 validation classes"):
        meta_train(learner, get_source("digits"), wrong)


def test_maml_learns_digits_and_shuffled_labels_stay_at_chance() -> None:
    source = get_source("digits")
    learner = methods.get("maml")(
        FourConv(DIGITS, 8),
        methods.get("maml").Settings(steps=2, test_steps=3, inner_rate=0.2, outer_rate=1e-2),
        CHANNELS_LAST,
    )
    before = evaluate(learner, learner.init(0).meta, source, "test", SPEC, 60)
    trained = meta_train(learner, source, plan(60, validate_every=60))
    after = evaluate(learner, trained.best, source, "test", SPEC, 60)
    assert after.interval.mean > before.interval.mean + 0.05
    assert after.interval.mean > 0.6
    batch = source.batch("test", SPEC, 0, 60)
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.stack([torch.randperm(6, generator=generator) for _ in range(60)])
    fast = learner.adapt(trained.best, batch.xs, batch.ys.gather(1, shuffled))
    outputs = learner.predict(fast, batch.xs, batch.xq)
    guessed = learner.network.accuracy(outputs, batch.yq)
    error = float(guessed.std()) / len(batch) ** 0.5
    assert float(guessed.mean()) == pytest.approx(1 / SPEC.way, abs=3 * error)


def test_evaluation_does_not_depend_on_chunks_and_counts_divergence() -> None:
    source = get_source("digits")
    found = []
    for execution in (Execution("loop"), Execution("grouped", chunk=3), CHANNELS_LAST):
        learner = methods.get("maml")(FourConv(DIGITS, 4), None, execution)
        meta = learner.init(0).meta
        found.append(evaluate(learner, meta, source, "test", SPEC, 30).accuracies)
    assert np.abs(found[0] - found[1]).max() < 0.12  # float32: a tie may fall either way
    assert np.abs(found[0] - found[2]).max() < 0.12
    meta["layers.0.weight"].fill_(float("nan"))
    lost = evaluate(learner, meta, source, "test", SPEC, 10)
    assert lost.diverged == 10
    assert lost.accuracies == pytest.approx(np.full(10, 1 / 3))


def test_an_evaluation_is_of_the_episodes_in_turn_and_of_their_classes() -> None:
    source, spec = get_source("digits"), EpisodeSpec(3, 2, 4)
    learner = methods.get("maml")(FourConv(DIGITS, 4), None, CHANNELS_LAST)
    meta = learner.init(0).meta
    done: list[int] = []
    for statistics in ("batch", "support"):
        found = evaluate(learner, meta, source, "test", spec, 30, statistics, done.append)
        batch = source.batch("test", spec, 25, 5)
        fast = learner.adapt(meta, batch.xs, batch.ys)
        right = learner.predict(fast, batch.xs, batch.xq, statistics).argmax(2) == batch.yq
        assert len(found.accuracies) == 30
        assert found.accuracies[25:] == pytest.approx(right.double().mean(1).numpy())
        wanted = [
            [float(r[labels == k].double().mean()) for k in range(3)]
            for r, labels in zip(right, batch.yq, strict=True)
        ]
        assert found.by_class[25:] == pytest.approx(np.array(wanted))
        assert np.array_equal(found.classes[25:], batch.classes)
        assert found.by_class.mean(1) == pytest.approx(found.accuracies)
    assert done == [25, 30] * 2


def test_intervals_are_their_closed_forms() -> None:
    accuracies = np.array([0.2, 0.4, 0.9])
    found = episode_interval(accuracies)
    error = math.sqrt(sum((a - 0.5) ** 2 for a in accuracies) / 2 / 3)
    assert found == pytest.approx((0.5, 0.5 - 1.96 * error, 0.5 + 1.96 * error))
    assert found.half == pytest.approx(1.96 * error)
    # Class 0 is met three times as often as class 1: a sample of both classes, each once, has
    # the mean of all; with one of them twice it is the mean of that class.
    classes, right = np.array([[0, 0, 0, 1]]), np.array([[1.0, 1.0, 1.0, 0.0]])
    assert class_interval(classes, right) == pytest.approx((0.75, 0.0, 1.0))
    often = np.append(np.repeat(np.arange(200), 9), np.arange(200, 400))
    assert class_interval(often[:, None], (often[:, None] < 200) * 1.0).low > 0.8  # mean: 0.9
    rng = np.random.default_rng(0)
    many = class_interval(np.arange(400)[:, None], rng.standard_normal((400, 1)))
    assert many.half == pytest.approx(1.96 / 20, rel=0.1)


def test_episode_interval_covers() -> None:
    rng = np.random.default_rng(0)
    truth = 0.7
    inside = 0
    for _ in range(2000):
        low, high = episode_interval(rng.binomial(25, truth, 600) / 25)[1:]
        inside += low <= truth <= high
    assert 0.93 <= inside / 2000 <= 0.97


def test_class_interval_is_wider_where_classes_differ() -> None:
    rng = np.random.default_rng(0)
    ease = rng.uniform(0.4, 1.0, 20)
    classes = np.stack([rng.permutation(20)[:5] for _ in range(600)])
    accuracies = rng.binomial(15, ease[classes]) / 15
    by_class, by_episode = class_interval(classes, accuracies), episode_interval(accuracies.mean(1))
    assert by_class.mean == pytest.approx(by_episode.mean)
    assert by_class.half > 3 * by_episode.half
    assert by_class.low < accuracies.mean() < by_class.high


def test_decoding_gives_back_an_architecture_and_ignores_constants() -> None:
    rng = np.random.default_rng(3)
    archs = [SPACE.sample(rng) for _ in range(5)]
    logits = one_hot(archs, FewShotSupernet(DIGITS, 2))
    assert decode(logits) == archs
    noise = torch.randn(5, 28, 1, generator=torch.Generator().manual_seed(0))
    soft = logits / 1e4 + noise
    assert decode(soft) == archs
    found = diversity(logits[[0, 0, 1]], logits[0])
    assert [times for _, times in found.counts] == [2, 1]
    assert found.distinct == 2
    assert found.counts[0][0] == archs[0]
    differ = sum(a != b for a, b in zip(archs[0].values, archs[1].values, strict=True))
    assert found.hamming == pytest.approx(differ / 3)
    rest = diversity(torch.cat([logits[[0, 0, 1]], torch.full((1, 28, 8), torch.nan)]), logits[0])
    assert rest == replace(found, diverged=1)
    assert int(log_likelihood(logits[2], archs).argmax()) == 2
    near = samples(logits[0], 3, np.random.default_rng(0))
    assert near == [archs[0]] * 3
    with pytest.raises(InputError, match="not finite"):
        decode(torch.full((1, 28, 8), float("nan")))


def test_a_decoded_path_of_the_supernet_is_the_decoded_network() -> None:
    """Without pooling, whose normalisation the supernet has alone, both compute the same."""
    signature = Signature((2, 9, 9), 3)
    supernet = FewShotSupernet(signature, 4)
    state = TNAS(supernet, None, CHANNELS_LAST).init(0)
    rng, found = np.random.default_rng(0), 0
    while found < 3:
        arch = SPACE.sample(rng)
        if "pool" in SPACE.to_text(arch):
            continue
        found += 1
        weights = inherited(arch, supernet, state.meta)
        network = decoded_network(arch, supernet)
        generator = torch.Generator().manual_seed(1)
        own = {n: weights.get(n, network.draw(n, generator)) for n in network.shapes}
        assert set(network.shapes) - set(weights) == {
            n for n in network.shapes if n.startswith("cells") and n.endswith((".scale", ".shift"))
        }
        x = torch.randn(1, 6, 2, 9, 9, generator=generator, dtype=torch.float64)
        single = {n: v[None].double() for n, v in own.items()}
        mixed = {n: v[None].double() for n, v in state.meta.items()}
        mixed[LOGITS] = one_hot([arch], supernet).double()
        torch.testing.assert_close(
            run(network, single, x, BatchStatistics()),
            run(supernet, mixed, x, BatchStatistics()),
            rtol=1e-9,
            atol=1e-10,
        )


class OtherEpisodes(EpisodeSource):
    """Changes one part of every episode, its queries or its support."""

    part = "xq"

    def batch(self, split: str, spec: EpisodeSpec, first: int, count: int) -> EpisodeBatch:
        """See `EpisodeSource.batch`."""
        found = super().batch(split, spec, first, count)
        changed = getattr(found, self.part).flip(0) + 0.5
        return replace(found, **{self.part: changed})


class OtherSupports(OtherEpisodes):
    """Changes the support."""

    part = "xs"


class Watched(Inheriting):
    """Keeps the logits that tasks predict with."""

    def predict(self, fast: Fast, xs: Tensor, xq: Tensor, statistics: str = "batch") -> Tensor:
        """See `Learner.predict`."""
        self.found = fast[LOGITS]
        return super().predict(fast, xs, xq, statistics)


def damaged(share: int) -> EpisodeSource:
    """Return digits of which one in `share` validation images makes a task diverge."""
    source = get_source("digits")
    images = source.images.float()
    validation = torch.isin(source.labels, torch.tensor(source.splits["validation"]))
    images[validation.nonzero()[::share]] = float("nan")
    return replace(source, images=images)


QUICK = {
    "way": 3, "query": 2, "tasks": 4, "meta_steps": 1, "architectures": 1, "architecture_steps": 1,
    "width": 2, "steps": 1, "test_steps": 1,
}  # fmt: skip


def test_validation_tasks_that_diverge_are_left_out_and_told() -> None:
    source = damaged(8)
    prior = learn("t-nas", source, QUICK, execution=CHANNELS_LAST)
    batch = source.batch("validation", EpisodeSpec(3, 1, 2), 0, 20)
    lost = int(batch.xs.isnan().flatten(1).any(dim=1).sum())
    told = prior.learnt_from["diversity"]
    assert 0 < told["diverged"] == lost < told["tasks"] == 20
    assert 1 <= told["distinct"] <= 20 - lost
    assert len(prior.architectures) == 1
    assert prior.remarks[1] == f"{lost} of 20 validation tasks diverged"
    with pytest.raises(Diverged, match="none of 20 validation tasks stayed finite in 1 inner"):
        learn("t-nas", damaged(1), QUICK, execution=CHANNELS_LAST)


def test_a_task_that_diverges_leaves_the_others_as_they_are() -> None:
    source = damaged(8)
    learner = TNAS(FewShotSupernet(DIGITS, 2), TNAS.Settings(test_steps=1), CHANNELS_LAST)
    meta = learner.init(0).meta
    batch = source.batch("validation", SPEC, 0, 4)
    lost = batch.xs.isnan().flatten(1).any(dim=1)
    assert 0 < int(lost.sum()) < 4
    found = Inheriting(learner).adapt(meta, batch.xs, batch.ys)[LOGITS]
    whole = Inheriting(learner).adapt(meta, batch.xs[~lost], batch.ys[~lost])[LOGITS]
    assert torch.equal(found[~lost], whole)
    assert bool(found[lost].isnan().any())
    broken = evaluate(Inheriting(learner), meta, source, "validation", SPEC, 4)
    assert int(lost.sum()) <= broken.diverged < 4


def test_queries_are_not_seen_by_the_search() -> None:
    """Architectures of an evaluation depend on the support of their task, not on its queries."""
    learner = TNAS(FewShotSupernet(DIGITS, 2), TNAS.Settings(test_steps=1), CHANNELS_LAST)
    meta, given = learner.init(0).meta, get_source("digits")
    logits = {}
    for kind in (EpisodeSource, OtherEpisodes, OtherSupports):
        source = kind("digits", given.images, given.labels, given.classes, given.splits, scale=16)
        watched = Watched(learner)
        evaluate(watched, meta, source, "test", SPEC, 4)
        logits[kind] = watched.found
    assert torch.equal(logits[OtherEpisodes], logits[EpisodeSource])
    assert not torch.equal(logits[OtherSupports], logits[EpisodeSource])


def test_a_task_of_auto_maml_keeps_the_architecture() -> None:
    learner = AutoMAML(FewShotSupernet(DIGITS, 2), None, CHANNELS_LAST)
    meta, batch = learner.init(0).meta, get_source("digits").batch("test", SPEC, 0, 2)
    fast = learner.adapt(meta, batch.xs, batch.ys, 1)
    assert torch.equal(fast[LOGITS], meta[LOGITS].expand(2, -1, -1))
    assert not torch.equal(fast["head.weight"], meta["head.weight"].expand_as(fast["head.weight"]))
