"""Path-level transformation: the space of histories, networks that grow, weights that stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from transnas import InputError, networks, spaces, tasks
from transnas.evaluation import (
    Combined,
    Inheriting,
    Latency,
    LatencyReward,
    Measurement,
    Objective,
    Recipe,
    Training,
)
from transnas.networks.path_level import PathLevelNetwork
from transnas.spaces import Architecture, Space
from transnas.spaces.path_level import MOVES, PathLevel, Step
from transnas.strategies import create
from transnas.studies import search
from transnas.tasks import Signature
from transnas.testing.strategies import Factory, StrategyContract

SPACE = PathLevel()
SCORE = (Objective("score"),)
IMAGES = Signature((3, 8, 8), 5, "classification")


class TestContract(StrategyContract):
    @pytest.fixture
    def factory(self) -> Factory:
        return lambda space, seed, objectives: create("path-level", space, seed, objectives)

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


def test_the_space_counts_histories() -> None:
    # Step i transforms one of i edges in one of four ways, or the history ends before it.
    counts = [int(np.prod([4 * i for i in range(1, n + 1)])) for n in range(7)]
    assert SPACE.size == sum(counts)
    assert SPACE.mask((0,)).tolist() == [True] + [False] * 8
    child = SPACE.from_text("step 1=0:add,step 2=1:conv3" + "".join(
        f",step {i}=stop" for i in range(3, 7)
    ))  # fmt: skip
    assert SPACE.tree(child) == ("add", "conv3", ("chain", "conv3", "conv3"))
    assert SPACE.paths(child) == (("add", "conv3"), ("add", "conv3", "conv3"))
    parent = SPACE.parent(child)
    assert parent is not None
    assert child in SPACE.grown(parent)
    assert len(SPACE.grown(parent)) == 2 * len(MOVES)
    root = SPACE.parent(parent)
    assert root == SPACE.at(0)
    assert SPACE.parent(SPACE.at(0)) is None


def trained_network(seed: int) -> PathLevelNetwork:
    """Return a small network whose normalisations have something to say."""
    torch.manual_seed(seed)
    network = PathLevelNetwork(IMAGES, 8, 1, 1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 2)
                for tensor in (module.bias, module.running_mean):
                    assert tensor is not None
                    tensor.uniform_(-1, 1)
    return network.eval()


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_growing_keeps_the_function(seed: int) -> None:
    arch = SPACE.sample(np.random.default_rng(seed))
    network, images = trained_network(seed), torch.randn(3, 3, 8, 8)
    before = network(images)
    for step in SPACE.steps(arch):
        network.grow(step, noise=0.0)
        assert (network(images) - before).abs().max() < 1e-5
    built = networks.build(SPACE, arch, IMAGES, channels=8)
    shapes = {name: tensor.shape for name, tensor in built.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in network.state_dict().items()}


@torch.no_grad()
def test_an_edge_of_one_channel_is_copied_where_it_cannot_be_parted() -> None:
    arch = SPACE.from_text(",".join(f"step {i}=0:concat" for i in range(1, 7)))
    network, images = trained_network(0), torch.randn(3, 3, 8, 8)
    before = network(images)
    for step in SPACE.steps(arch):
        network.grow(step, noise=0.0)
    assert (network.eval()(images) - before).abs().max() < 1e-5


@torch.no_grad()
def test_noise_parts_copies_and_little_else() -> None:
    network, images = trained_network(0), torch.randn(3, 3, 8, 8)
    before = network(images)
    network.grow(Step(0, "add"), torch.Generator().manual_seed(0))
    assert 0 < (network.eval()(images) - before).abs().max() < before.abs().max()


def test_the_best_are_transformed_further() -> None:
    strategy = create("path-level", SPACE, 0, SCORE, beam=2)
    told: dict[Architecture, float] = {}
    for _ in range(40):
        arch = strategy.ask()
        assert arch not in told
        parent = SPACE.parent(arch)
        if told:
            growing = [a for a in told if any(c not in told for c in SPACE.grown(a))]
            assert parent in sorted(growing, key=lambda a: -told[a])[:2]
        else:
            assert parent is None
        told[arch] = float(sum(step.move == "add" for step in SPACE.steps(arch)))
        strategy.tell(arch, Measurement({"score": told[arch]}))
    assert max(told.values()) == 6
    with pytest.raises(InputError, match="'path-level' accepts: path-level"):
        create("path-level", spaces.get("nasbench201"), 0, SCORE)


def test_all_of_the_beam_and_all_their_ways_are_drawn() -> None:
    root = SPACE.at(0)
    best, second, third = SPACE.grown(root)[:3]
    drawn = []
    for seed in range(30):
        strategy = create("path-level", SPACE, seed, SCORE, beam=2)
        for arch, score in ((root, 1.0), (third, 2.0), (second, 3.0), (best, 4.0)):
            strategy.tell(arch, Measurement({"score": score}))
        drawn.append(strategy.ask())
    assert {SPACE.parent(arch) for arch in drawn} == {best, second}
    assert len(set(drawn)) > 8


def test_children_begin_where_their_parents_ended(tmp_path: Path) -> None:
    task = tasks.get("digits")
    recipe = Recipe(learning_rate=1e-9, augment=False, batch_size=512)
    root = SPACE.at(0)
    child = SPACE.grown(root)[2]  # a convolution after the first
    training = Training(task, SPACE, Recipe(augment=False), "cpu", {"channels": 4})
    kept = Inheriting.of(training).keeping(tmp_path)
    before = kept.evaluate(root, 2)
    assert before.metrics["inherited"] == 0
    # Next to no learning rate: only the running statistics of the normalisations move.
    still = Inheriting(task, SPACE, recipe, "cpu", {"channels": 4}).keeping(tmp_path)
    after = still.evaluate(child, 1)
    assert after.metrics["inherited"] == 1
    loss = after.metrics["validation_loss"]
    assert loss == pytest.approx(before.metrics["validation_loss"], abs=0.2)
    # Without its parent it begins anew.
    alone = Inheriting(task, SPACE, recipe, "cpu", {"channels": 4}).evaluate(child, 1)
    assert alone.metrics["inherited"] == 0
    assert alone.metrics["validation_loss"] > 2.0
    with pytest.raises(InputError, match="has no transformations; accepted: path-level"):
        Inheriting(task, spaces.get("nasbench201"))


def test_a_study_inherits(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    study = search("digits", space="path-level", strategy="path-level", trials=3, epochs=1,
                   storage=storage)  # fmt: skip
    inherited = [t.metrics["inherited"] for t in study.trials]
    assert inherited == [0, 1, 1]


def test_a_study_inherits_under_a_latency_target(tmp_path: Path) -> None:
    storage, task = f"sqlite:///{tmp_path / 'studies.db'}", tasks.get("digits:limit=6")
    skeleton = {"channels": 4}
    training = Training(task, SPACE, device="cpu", skeleton=skeleton)
    latency = Latency(task, SPACE, "cpu", warmup=0, repeats=1, skeleton=skeleton)
    for trials in (1, 2):  # the second run finds the weights that the first one left
        study = search(task, SPACE, "path-level", trials, epochs=1, storage=storage, name="fast",
                       evaluator=LatencyReward(Combined([latency, training]), 5.0),
                       objectives="latency_reward", progress=False)  # fmt: skip
    assert [t.metrics["inherited"] for t in study.trials] == [0, 1]
    assert all(t.metrics["latency_ms"] > 0 for t in study.trials)
