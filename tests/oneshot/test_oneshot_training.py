"""Every one-shot method on a toy whose best architecture is known, interrupted, and refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from oneshot_toys import BEST, Chain, ChainSupernet, brighter, quick
from torch import Tensor, nn

from transnas import InputError, networks, oneshot, spaces, tasks
from transnas._checkpoints import load_checkpoint, save_checkpoint
from transnas.evaluation.training import Stopped
from transnas.oneshot import Settings
from transnas.oneshot._streams import Stream, seeded

torch.set_num_threads(1)
SMALL = {"channels": 2, "cells": 1}
FAST = ("darts", "gdas", "proxylessnas", "rs-ws")
"""Methods whose ten toy searches are checked without being asked for slow tests."""


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "supernet", ChainSupernet)


def toy(method: str, seed: int = 0, **options: Any) -> oneshot.Result:
    settings = options.pop("settings", None) or quick(method)
    return oneshot.search(
        brighter(), Chain(), method, settings, skeleton={}, seed=seed, device="cpu", **options
    )


# Finding ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize(
    "method",
    [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in oneshot.names()],
)
def test_finds_the_best_of_a_toy(method: str) -> None:
    found = [toy(method, seed).architecture.values for seed in range(10)]
    assert found.count(BEST) >= 9


@pytest.mark.parametrize("method", ["darts", "gdas", "rs-ws"])
def test_same_seed_same_search_and_the_callers_generator_is_left_alone(method: str) -> None:
    settings = quick(method, epochs=1, batch_size=512, candidates=3)
    before = torch.get_rng_state()

    def run(seed: int) -> oneshot.Result:
        task, space = tasks.get("digits"), spaces.get("nasbench201")
        return oneshot.search(
            task, space, method, settings, skeleton=SMALL, seed=seed, device="cpu"
        )

    results = [run(0), run(0), run(1)]
    assert results[0].curve == results[1].curve
    assert results[0].architecture == results[1].architecture
    assert results[0].curve != results[2].curve
    assert torch.equal(torch.get_rng_state(), before)


# Interruptions ----------------------------------------------------------------------------------


class Killed(Exception):
    pass


@pytest.mark.usefixtures("_toy")
@pytest.mark.parametrize("method", oneshot.names())
@pytest.mark.parametrize("after", [1, 6])
def test_an_interrupted_search_goes_on_to_the_same_result(
    method: str, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = quick(method, epochs=3, candidates=3)

    def run(checkpoint: Path | None) -> oneshot.Result:
        return toy(method, settings=settings, checkpoint=checkpoint)

    undisturbed = run(None)
    kind = oneshot.get(method)
    train_step, steps = kind.train_step, itertools.count()

    def dying(self: oneshot.OneShot, batch: Any) -> None:
        if next(steps) == after:
            raise Killed
        train_step(self, batch)

    path = tmp_path / "search.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(kind, "train_step", dying)
        patch.setattr("transnas.oneshot._search._Saver.save_if_due", lambda self: self.save())
        with pytest.raises(Killed):
            run(path)
    resumed = run(path)
    assert resumed.architecture == undisturbed.architecture
    assert resumed.curve == undisturbed.curve
    assert resumed.shares == undisturbed.shares
    ours, theirs = resumed.method.net.state_dict(), undisturbed.method.net.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert run(path).architecture == undisturbed.architecture  # a finished one is not trained again


def test_a_stream_finds_its_place_again() -> None:
    def stream() -> Stream:
        generator = seeded(0, "training data")
        return Stream(tasks.get("digits").train, 100, torch.device("cpu"), generator, "shift")

    one, other = stream(), stream()
    for _ in range(len(one) + 3):
        one.next()
    other.restore(one.state())
    for _ in range(len(one)):
        for ours, theirs in zip(one.next(), other.next(), strict=True):
            assert torch.equal(ours, theirs)


def test_checkpoints_keep_nested_data_and_name_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    state = {"t": torch.arange(6.0).view(2, 3)[:, :2], 3: [None, 1.5, ("x", torch.tensor(1))]}
    save_checkpoint(path, {"space": "a", "seed": 1}, state)
    _, found = load_checkpoint(path, {"space": "a"})
    assert torch.equal(found["t"], state["t"])
    assert found[3][:2] == [None, 1.5]
    assert found[3][2] == ("x", 1)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(InputError, match="space 'a'; accepted: one with space 'b'"):
        load_checkpoint(path, {"space": "b"})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="not readable"):
        load_checkpoint(path)


# Steps ------------------------------------------------------------------------------------------


def searching(net: type[ChainSupernet], settings: Settings, task: Any = None) -> oneshot.Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", net)
        return oneshot.search(
            task or brighter(), Chain(), "darts", settings, skeleton={}, device="cpu"
        )


def test_each_step_moves_its_own_parameters_only() -> None:
    first: dict[str, Tensor] = {}

    class Remembering(ChainSupernet):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            first.update({name: value.clone() for name, value in self.state_dict().items()})

    for frozen, changes in (
        ("head", {"learning_rate": 0.0, "least_learning_rate": 0.0}),
        ("logits", {"logits_learning_rate": 0.0}),
    ):
        found = searching(Remembering, quick("darts", epochs=1, **changes))
        for name, value in found.method.net.state_dict().items():
            assert torch.equal(value, first[name]) == name.startswith(frozen)


@pytest.mark.parametrize(("every", "order"), [(1, "vt" * 4), (2, "vtt" * 2), (0, "ttvvttvv")])
def test_logits_learn_from_validation_data_and_weights_from_training_data(
    every: int, order: str
) -> None:
    calls: list[tuple[bool, Tensor, Tensor]] = []

    class Recording(ChainSupernet):
        def run(self, x: Tensor, mix: Any) -> Tensor:
            if torch.is_grad_enabled():
                values = self.logits.detach().clone(), self.head.weight.detach().clone()
                calls.append((bool(x.mean() > 5), *values))
            return super().run(x, mix)

    settings = quick("darts", epochs=2, logits_every=every)
    searching(Recording, settings, brighter(128, offset=10.0))
    assert "".join("v" if validation else "t" for validation, *_ in calls) == order
    for (validation, logits, head), (_, next_logits, next_head) in itertools.pairwise(calls):
        assert torch.equal(logits, next_logits) != validation
        assert torch.equal(head, next_head) == validation


def test_first_order_step_is_adam_on_the_validation_gradient() -> None:
    before: list[Tensor] = []

    class Remembering(ChainSupernet):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            before.append(self.logits.detach().clone())

    still = {"learning_rate": 0.0, "least_learning_rate": 0.0, "logits_decay": 0.0}
    settings = quick("darts", epochs=1, logits_learning_rate=3e-4, **still)
    found = searching(Remembering, settings, brighter(64))
    # The first step of Adam is the learning rate against the gradient's sign.
    moved = (found.method.net.logits.detach() - before[0]).abs()
    torch.testing.assert_close(moved, torch.full((2, 3), 3e-4), rtol=1e-2, atol=0)


def test_learning_rate_falls_along_half_a_cosine() -> None:
    settings = Settings()
    assert [settings.rate(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.025, 0.013, 0.001])


# Refusals ---------------------------------------------------------------------------------------


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    space = spaces.get("nasbench201")
    with pytest.raises(InputError, match="no data to train a supernet on"):
        oneshot.search(tasks.get("nasbench201/cifar10"), space)
    with pytest.raises(InputError, match="network for space"):
        oneshot.search(brighter(), spaces.get("transnas101-macro"), "gdas")
    with pytest.raises(InputError, match="one-shot method 'dartz' is unknown; did you mean 'dart"):
        oneshot.search(brighter(), space, "dartz")
    with pytest.raises(InputError, match="settings are Settings; method 'gdas' accepts: GDAS"):
        oneshot.search(brighter(), space, "gdas", Settings())
    for wrong, sentence in (
        ({"epochs": 0}, "'epochs' is 0; accepted: whole numbers from 1"),
        ({"batch_size": 1.5}, "'batch_size' is 1.5; accepted: an integer"),
        ({"epochs": 9, "logits_from": 9}, "epochs is 9, .* logits_from 9; accepted: .* from 10"),
        ({"momentum": 1.0}, "'momentum' is 1.0; accepted: numbers from 0 and below 1"),
        ({"precision": "64"}, "'precision' is '64'; accepted: '32-true' or 'bf16-mixed'"),
    ):
        with pytest.raises(InputError, match=sentence):
            Settings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "wrong", "accepted"),
    [
        ("darts", {"product": "fd"}, "'exact' or 'finite-difference'"),
        ("darts", {"selection": "strongest"}, "'strength' or 'perturbation'"),
        ("darts-plus", {"criterion": "skip"}, "'skips' or 'ranking'"),
        ("proxylessnas", {"penalty": "plus"}, "'add' or 'multiply'"),
        ("proxylessnas", {"logits_every": 0}, "whole numbers from 1"),
        ("robust-darts", {"response": "halt"}, "'stop' or 'adapt' or 'none'"),
        ("robust-darts", {"selection": "perturbation"}, "'strength'"),
        ("setn", {"logits_every": 0}, "whole numbers from 1"),
        ("snas", {"logits_every": 2}, "whole numbers from 1 and below 2"),
        ("bayesnas", {"logits_from": 1}, "0"),
        ("bayesnas", {"epochs": 1}, "whole numbers from 2"),
        ("darts", {"gradient_clip": 0.0}, "finite numbers above 0"),
        ("enas", {"momentum": 0.0}, "above 0 with nesterov true"),
        ("enas", {"logits_every": 0}, "1"),
        ("one-shot", {"logits_from": 3}, "0"),
        ("rs-ws", {"logits_every": 2}, "1"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(
    method: str, wrong: dict[str, Any], accepted: str
) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=f"setting '{name}' is {value!r}; accepted: {accepted}$"):
        oneshot.get(method).Settings(**wrong)


def test_setn_moves_its_logits_as_often_as_it_is_told() -> None:
    before: list[Tensor] = []

    class Recording(ChainSupernet):
        def run(self, x: Tensor, mix: Any) -> Tensor:
            if torch.is_grad_enabled():
                before.append(self.logits.detach().clone())
            return super().run(x, mix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "supernet", Recording)
        settings = quick("setn", epochs=1, logits_every=3)
        oneshot.search(brighter(), Chain(), "setn", settings, skeleton={}, device="cpu")
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(before)]
    # Of four steps, the first and the last move the logits before the weights.
    assert moved == [True, False, False, False, True]


@pytest.mark.usefixtures("_toy")
def test_a_checkpoint_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "search.safetensors"
    toy("darts", settings=quick("darts", epochs=1), checkpoint=path)
    with pytest.raises(InputError, match="method 'darts'; accepted: one with method 'gdas'"):
        toy("gdas", checkpoint=path)
    with pytest.raises(InputError, match="seed 0; accepted: one with seed 1"):
        toy("darts", 1, settings=quick("darts", epochs=1), checkpoint=path)
    other = replace(brighter(), digest="aa")
    with pytest.raises(InputError, match="data None; accepted: one with data 'aa'"):
        oneshot.search(
            other, Chain(), "darts", quick("darts", epochs=1), skeleton={}, checkpoint=path
        )
    with pytest.raises(InputError, match="data None; accepted: one with data 'aa'"):
        oneshot.load_search(path, other, Chain())
    assert oneshot.load_search(path, brighter(), Chain()).epoch == 1


@pytest.mark.usefixtures("_toy")
def test_a_checkpoint_of_another_device_may_be_looked_at_only(tmp_path: Path) -> None:
    path, settings = tmp_path / "search.safetensors", quick("gdas", epochs=1)
    done = toy("gdas", settings=settings, checkpoint=path)
    identity, state = load_checkpoint(path)
    there = torch.zeros(16, dtype=torch.uint8)  # the size of a GPU's generator
    state["random"]["cuda"] = there
    state["search"]["generators"] = dict.fromkeys(state["search"]["generators"], there)
    save_checkpoint(path, identity, state)
    with pytest.raises(InputError, match="a run on device 'cuda', whose random numbers"):
        toy("gdas", settings=settings, checkpoint=path)
    found = oneshot.load_search(path, brighter(), Chain(), "cpu")
    assert torch.equal(found.net.logits, done.method.net.logits)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [("head.weight", "not finite in epoch 1"), ("logits", "architecture weights are not finite")],
)
def test_numbers_that_are_not_finite_stop_a_search(broken: str, sentence: str) -> None:
    class Broken(ChainSupernet):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            nn.init.constant_(dict(self.named_parameters())[broken], float("nan"))

    with pytest.raises(Stopped, match=sentence):
        searching(Broken, quick("darts", epochs=2))


@pytest.mark.parametrize("method", ["one-shot", "bayesnas"])
def test_cells_that_keep_many_paths_stay_finite_over_long_windows(
    method: str, tmp_path: Path
) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("one two three four five\n" * 150)
    task, space = tasks.get(str(tmp_path)), spaces.get("enas-recurrent")
    settings = quick(method, epochs=2, candidates=3, batch_size=4)
    found = oneshot.search(
        task, space, method, settings, skeleton={"hidden": 8}, seed=0, device="cpu"
    )
    assert len(found.curve) == 2
