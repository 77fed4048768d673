"""Training of language models: exact metrics, carried states, averages, a learnable text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from transnas import InputError, networks, spaces, tasks
from transnas.evaluation import CostEvaluator
from transnas.evaluation._averaging import Averaging
from transnas.evaluation._kinds import kind_of
from transnas.evaluation.training import Batches, Recipe, Training, measure, workplace
from transnas.networks.darts_recurrent import LanguageModel
from transnas.studies.final import final_recipe, train_final
from transnas.tasks import DataTask, Signature
from transnas.tasks._text import TextSplit


def model(vocabulary: int = 7, hidden: int = 5) -> LanguageModel:
    torch.manual_seed(0)
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    language = Signature((4,), vocabulary, "language")
    found = networks.build(space, arch, language, hidden=hidden)
    assert isinstance(found, LanguageModel)
    return found


def test_the_perplexity_of_a_uniform_model_is_the_size_of_the_vocabulary() -> None:
    network = model()
    nn.init.zeros_(network.decoder.weight)
    text = TextSplit(torch.randint(7, (100,)), window=4)
    found = measure(network, text, workplace("cpu"), "language")
    assert found["perplexity"] == pytest.approx(7, rel=1e-5)
    assert found["log_likelihood"] == pytest.approx(-math.log(7), rel=1e-5)


def test_windows_are_measured_as_one_long_text() -> None:
    network, text = model().eval(), TextSplit(torch.randint(7, (60,)), window=4)
    found = measure(network, text, workplace("cpu"), "language")
    streams = text.tokens.view(10, 6)  # `Language.largest` streams
    scores = network(streams[:, :-1]).detach()
    whole = nn.functional.cross_entropy(scores.flatten(0, 1), streams[:, 1:].flatten())
    assert found["loss"] == pytest.approx(float(whole), rel=1e-5)


def test_a_window_starts_from_the_detached_state_of_the_one_before() -> None:
    network, kind = model().train(), kind_of("language")
    text, recipe = TextSplit(torch.randint(7, (40,)), window=4), Recipe(label_smoothing=0.2)
    batches = iter(Batches(text, 2, torch.device("cpu")).epoch())
    state = torch.zeros(2, network.hidden)
    for _ in range(3):
        tokens, targets = next(batches)
        loss = kind.loss(network, tokens, targets, recipe)
        scores, state = network.run(tokens, state)
        expected = nn.functional.cross_entropy(
            scores.flatten(0, 1), targets.tokens.flatten(), label_smoothing=0.2
        )
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(targets.carried.state, state.detach())
        assert not targets.carried.state.requires_grad
        state = state.detach()


def test_embedding_and_decoder_share_their_weights() -> None:
    network = model()
    assert network.decoder.weight.data_ptr() == network.embedding.weight.data_ptr()
    names = [name for name, _ in network.named_parameters()]
    assert "decoder.weight" not in names


def folder(path: Path, lines: int) -> str:
    cycle = "one two three four five\n"
    for split, count in (("train", lines), ("valid", 20), ("test", 20)):
        (path / f"{split}.txt").write_text(cycle * count)
    return str(path)


def test_a_cell_learns_a_text_that_repeats(tmp_path: Path) -> None:
    task = tasks.get(folder(tmp_path, 240))
    assert isinstance(task, DataTask)
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    training = Training(task, space, skeleton={"hidden": 8}, device="cpu")
    found = training.evaluate(arch, 15)
    assert set(found.metrics) == training.reports()
    assert found.status == "complete"
    assert found.metrics["validation_perplexity"] < 2  # 6 equally frequent tokens
    assert found.metrics["validation_log_likelihood"] == -found.metrics["validation_loss"]
    assert found.metrics["flops"] > 0
    cost = CostEvaluator(task, space, skeleton={"hidden": 8}).evaluate(arch)
    assert cost.metrics["parameters"] == found.metrics["parameters"]


def test_averaging_starts_by_the_published_rule() -> None:
    weight = torch.zeros(1)
    averaging = Averaging([weight], patience=2)
    for loss in (5.0, 4.0, 4.5, 3.9):  # 3.9 is less than all that are 2 checks old
        averaging.check(loss)
        assert not averaging.started
    averaging.check(4.2)  # not less than the 4.0 of three checks ago
    assert averaging.started
    for value in (1.0, 2.0, 6.0):
        weight.fill_(value)
        averaging.update()
    with averaging.applied():
        assert weight.item() == pytest.approx((0 + 1 + 2 + 6) / 4)
    assert weight.item() == 6.0
    averaging.settle()
    assert weight.item() == pytest.approx(9 / 4)


def test_a_final_training_has_no_averages_and_refuses_to_be_asked_for_them(tmp_path: Path) -> None:
    task, space = tasks.get(folder(tmp_path, 240)), spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    settings: dict[str, Any] = {"epochs": 1, "device": "cpu", "skeleton": {"hidden": 8}}
    asked = replace(final_recipe("language"), average_after=5)
    with pytest.raises(InputError, match="'average_after' is 5; accepted without validation data"):
        train_final(task, space, arch, recipe=asked, **settings)
    _, test = train_final(task, space, arch, **settings)
    assert test.metrics["test_perplexity"] > 1


def test_losses_of_the_last_checks_do_not_start_an_average() -> None:
    averaging = Averaging([torch.zeros(1)], patience=2)
    for loss in (1.0, 2.0, 3.0):  # the 1.0 is two checks ago
        averaging.check(loss)
        assert not averaging.started
    averaging.check(1.5)
    assert averaging.started


def test_a_constant_schedule_stays() -> None:
    recipe = Recipe(schedule="constant", learning_rate=3.0, warmup=0.1)
    assert recipe.rate(0, 100) == pytest.approx(0.3)
    assert {recipe.rate(step, 100) for step in range(10, 100)} == {3.0}


def test_a_shuffled_reader_keeps_the_order_of_a_text() -> None:
    text = TextSplit(torch.arange(30), window=4)
    given = Batches(text, 2, torch.device("cpu"), torch.Generator().manual_seed(3))
    first = [tokens.tolist() for tokens, _ in given.epoch()]
    assert first == [tokens.tolist() for tokens, _ in given.epoch()]
