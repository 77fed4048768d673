"""Interruption, divergence, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from interleaved_toys import stripes
from torch import Tensor
from torch.utils.data import TensorDataset

from transnas import InputError, spaces
from transnas import tasks as built_in
from transnas.evaluation.training import Stopped
from transnas.meta.interleaved import InterleaveSettings, Interleaving, checkpoint
from transnas.spaces import Space
from transnas.tasks import DataTask, Signature

SMALL = {"batch_size": 8, "anchors": 2, "views": 4, "iterations": 4}


def make(space: Space, tasks: list[DataTask], **settings: Any) -> Interleaving:
    given = InterleaveSettings(**{**SMALL, **settings})
    return Interleaving(tasks, space, given, skeleton={}, device="cpu")


VARIANTS = [
    {"preset": "joint", "match_every": 1, "order": "random", "carry": True},
    {"preset": "distil", "balance": "pcgrad", "normalise": "ema"},
    {"preset": "hard", "balance": "uncertainty", "normalise": "initial", "tasks": 2},
    {"preset": "joint", "hyper": "chunked", "hyper_chunk": 64},
    {"preset": "none", "method": "gdas", "architecture": "separate"},
    {"preset": "none", "paths": "last"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(map(str, o.values())))
def test_a_stopped_search_continues_exactly(
    space: Space, tasks: list[DataTask], options: dict[str, Any], tmp_path: Path
) -> None:
    options = dict(options)
    tasks = tasks[: options.pop("tasks", 3)]
    whole = make(space, tasks, **options)
    whole.run()
    stopped = make(space, tasks, **options)
    for _ in range(12):  # mid-round, in the second iteration
        stopped.advance()
    while not stopped.resumable:
        stopped.advance()
    checkpoint.save(tmp_path, space, stopped.definition(), stopped.state())
    assert checkpoint.exists(tmp_path)
    resumed = make(space, tasks, **options)
    resumed.restore(checkpoint.load(tmp_path, space, resumed.definition()))
    resumed.run()
    for a, b in zip(whole.learners, resumed.learners, strict=True):
        for module in ("encoder", "head", "project"):
            pairs = zip(
                getattr(a, module).state_dict().values(),
                getattr(b, module).state_dict().values(),
                strict=True,
            )
            assert all(torch.equal(x, y) for x, y in pairs)
    assert whole.history.points == resumed.history.points
    assert whole.cost.passes == resumed.cost.passes
    other = make(space, tasks, **{**options, "learning_rate": 0.5})
    with pytest.raises(InputError, match="setting learning_rate"):
        checkpoint.load(tmp_path, space, other.definition())
    elsewhere = make(space, [replace(tasks[0], digest="aa"), *tasks[1:]], **options)
    with pytest.raises(InputError, match=r"data is \['aa'"):
        checkpoint.load(tmp_path, space, elsewhere.definition())


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "distil", "balance": "pcgrad", "normalise": "ema", "order": "similar"},
        {"preset": "hard", "balance": "uncertainty", "normalise": "initial"},
        {"preset": "joint", "hyper": "chunked", "hyper_chunk": 64},
        {"preset": "none", "method": "snas", "architecture": "separate"},
    ],
    ids=lambda o: o["preset"],
)
def test_all_of_a_state_is_restored(
    space: Space, tasks: list[DataTask], options: dict[str, Any]
) -> None:
    """Also what changes rarely: divergences, first visits, draws of heads and of conflicts."""
    search, other = (make(space, tasks[:2], **options) for _ in range(2))
    for _ in range(9):
        search.advance()
    search.strike(search.learners[1], "by hand")
    for learner in search.learners:
        torch.rand(1, generator=learner._chance)
        torch.rand(1, generator=learner.matcher.generator)
        for value in learner.base.values():
            value.add_(1.0)
    for balance in (search.level3.balance, search.summed.balance):
        torch.rand(1, generator=balance._generator)
        balance.log_variance[1] += 0.25
    search.similar = search.similar[::-1]
    given = search.state()
    assert different(given, other.state(), "")
    other.restore(given)
    assert different(given, other.state(), "") == []


def different(first: Any, second: Any, at: str) -> list[str]:
    """Return where two nested values differ."""
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [at]
        return [x for k in first for x in different(first[k], second[k], f"{at}/{k}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return [at]
        pairs = enumerate(zip(first, second, strict=True))
        return [x for i, pair in pairs for x in different(*pair, f"{at}/{i}")]
    same = torch.equal(first, second) if isinstance(first, Tensor) else first == second
    return [] if same else [at]


class Diverging:
    """A kind whose loss is not finite from the fourth batch on."""

    def __init__(self, kind: Any) -> None:
        self.kind, self.batches, self.score = kind, 0, kind.score

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        self.batches += 1
        out: Tensor = self.kind.loss(output, targets) * (1.0 if self.batches < 4 else float("nan"))
        return out

    def chance(self, task: DataTask) -> Any:
        return self.kind.chance(task)


def test_a_diverging_task_is_reported_down_weighted_and_dropped_and_the_others_go_on(
    space: Space, tasks: list[DataTask]
) -> None:
    search = make(space, tasks, iterations=5, match_every=1)
    bad = search.learners[1]
    bad.kind = Diverging(bad.kind)
    search.run()
    assert search.done
    assert not bad.active
    assert [x.active for x in search.learners] == [True, False, True]
    events = search.history.events
    assert len(events) == 3
    assert "task 'b' diverged (training loss nan" in events[0]
    assert "counts 0.5 from now on" in events[0]
    assert "is dropped" in events[2]
    everything = [p for x in search.learners for p in x.private]
    assert all(bool(p.isfinite().all()) for p in [*everything, *search.learners[0].alpha])
    assert {u.task for u in search.units if u is not None} == {0, 2}


def test_a_divergence_halves_the_rate_at_once_and_forgets_the_momentum(
    space: Space, tasks: list[DataTask]
) -> None:
    search = make(space, tasks[:2])
    search.advance()
    learner = search.learners[0]
    assert learner.optimiser.state
    rate = learner.optimiser.param_groups[0]["lr"]
    search.strike(learner, "by hand")
    assert not learner.optimiser.state
    assert (learner.optimiser.param_groups[0]["lr"], learner.factor) == (rate / 2, 0.5)
    assert search.learners[1].factor == 1.0


def test_when_all_diverge_the_search_stops(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:1], preset="none", strikes=1)
    search.learners[0].kind = Diverging(search.learners[0].kind)
    with pytest.raises(Stopped, match="all tasks diverged"):
        search.run()


def test_a_loss_far_above_chance_counts_as_divergence(space: Space, tasks: list[DataTask]) -> None:
    search = make(space, tasks[:2], divergence=1.0 + 1e-9, strikes=1000)
    search.run()
    assert search.history.events


BAD = [
    ({"preset": "jiont"}, "preset 'jiont' is unknown; did you mean 'joint'"),
    ({"preset": "none", "transfer_weight": 0.1}, "transfer_weight is 0.1 with preset 'none'"),
    ({"paths": "chain:0"}, "paths is 'chain:0'; accepted: direct, last, chain:P"),
    ({"paths": "chain:1", "hvp": "fd"}, "hvp is 'fd'"),
    ({"paths": "last", "hyper": "film"}, "with a hypernetwork"),
    ({"paths": "last", "alpha_first": True}, "paths is 'last' with alpha_first"),
    ({"paths": "chain:1", "alpha_schedule": "posthoc"}, "'chain:1' with alpha_schedule 'posthoc'"),
    (
        {"preset": "hard", "architecture": "separate"},
        "architecture is 'separate' with preset 'hard'",
    ),
    ({"preset": "hard", "paths": "last"}, "paths is 'last' with preset 'hard'"),
    ({"preset": "hard", "hyper": "film"}, "hyper is 'film' with preset 'hard'"),
    ({"preset": "hard", "offload": True}, "offload is True with preset 'hard'"),
    ({"paths": "last", "offload": True}, "paths is 'last' with offload"),
    ({"updates": "summed"}, "updates is 'summed' with preset 'joint'"),
    ({"order": "alphabetic"}, "setting 'order' is 'alphabetic'; accepted: 'fixed' or"),
    ({"paths": 3}, "setting 'paths' is 3; accepted: text"),
    ({"preset": ["joint"]}, "setting 'preset' is ['joint']; accepted: text"),
    ({"rounds": 2.5}, "setting 'rounds' is 2.5; accepted: an integer"),
    ({"soft_labels": "no"}, "setting 'soft_labels' is 'no'; accepted: true, false"),
    ({"kernel_scale": "a"}, "setting 'kernel_scale' is 'a'; accepted: none or a number"),
    ({"kernel_scale": 0.0}, "'kernel_scale' is 0.0; accepted: none or finite numbers above 0"),
    ({"kernel_scale": -1.0}, "'kernel_scale' is -1.0"),
    ({"threshold_value": float("nan")}, "'threshold_value' is nan"),
    (
        {"threshold_value": float("inf")},
        "'threshold_value' is inf; accepted: none or finite",
    ),
    ({"learning_rate": float("inf")}, "'learning_rate' is inf; accepted: finite numbers from 0"),
    ({"least_learning_rate": -1.0}, "'least_learning_rate' is -1.0"),
    ({"least_learning_rate": float("nan")}, "'least_learning_rate' is nan"),
    ({"divergence": 0.5}, "'divergence' is 0.5; accepted: finite numbers from 1"),
    ({"anchors": 1}, "anchors is 1 with sources 'both'"),
    ({"paths": "chain:1"}, "'chain:1' with preset 'joint' and soft_labels False, where no gr"),
    ({"paths": "chain:1", "preset": "none"}, "where no gradient reaches a predecessor"),
    ({"gradient_clip": 0.0}, "'gradient_clip' is 0.0; accepted: finite numbers above 0"),
    ({"anchors": 2, "sources": "current"}, "accepted: whole numbers from 3"),
    ({"anchors": 0, "preset": "distil"}, "'anchors' is 0"),
    ({"rounds": 0}, "'rounds' is 0"),
    ({"views": 1}, "'views' is 1"),
    ({"threshold": "null", "views": 2}, "views is 2 with threshold 'null'"),
    ({"warmup": 1.5}, "'warmup' is 1.5"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD, ids=lambda o: str(o)[:60])
def test_bad_settings_get_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        InterleaveSettings(**options)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("sources", ["both", "previous", "current"])
def test_the_fewest_accepted_anchors_can_be_matched(
    space: Space, tasks: list[DataTask], sources: str
) -> None:
    least = 2 if sources == "both" else 3
    search = make(space, tasks[:2], anchors=least, sources=sources, match_every=1)
    search.run()
    assert not search.history.events


def test_bad_tasks_get_a_sentence(space: Space, tasks: list[DataTask]) -> None:
    with pytest.raises(InputError, match="tasks are none"):
        make(space, [])
    with pytest.raises(InputError, match="tasks are a, a; accepted: different ones"):
        make(space, [tasks[0], tasks[0]])
    with pytest.raises(InputError, match="no data to train on"):
        make(space, [tasks[0], built_in.get("nasbench201/cifar10")])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"differ in channels \(a 1, c 3\)"):
        make(space, [tasks[0], tasks[2]], preset="hard")
    with pytest.raises(InputError, match="supernet for space 'residual'"):
        make(spaces.get("residual"), tasks)
    with pytest.raises(InputError, match="paths is 'last' with method 'gdas'"):
        make(space, tasks, paths="last", method="gdas")
    empty = TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))
    whole = stripes("whole")
    unheld = DataTask("unheld", whole.signature, train=whole.train, validation=empty)
    with pytest.raises(InputError, match=r"task 'unheld' has 0 validation image\(s\)"):
        make(space, [tasks[0], unheld])
    flat = DataTask("flat", Signature((8,), 3), train=whole.train, validation=whole.validation)
    with pytest.raises(InputError, match=r"task 'flat' has inputs of shape \(8,\)"):
        make(space, [tasks[0], flat])
