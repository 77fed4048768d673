"""The search: exact repetition, invariances, odd input, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transnas import spaces, strategies
from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.meta.store import SourceTask, StorePrior, StoreTransfer, learn, replicate_transfer
from transnas.spaces import Choice, Range, Space
from transnas.strategies import Exhausted

SPACE = spaces.get("nasbench201")
REWARD = Objective("reward")
BEST = {"c10": 6111, "c100": 9930, "in16": 10676}


@pytest.fixture(scope="module")
def tables(data_file: Callable[[str], Path]) -> dict[str, Any]:
    with np.load(data_file("nas/nasbench201.npz")) as table:
        found: dict[str, Any] = {t: table[f"val12_{t}"].astype(np.float64) for t in BEST}
    with np.load(data_file("nas/transnas101.npz")) as table:
        found["cells"] = [SPACE.architecture(codes) for codes in table["micro_ops"]]
        found["values"] = table["micro_val"].astype(np.float64)
    return found


def pools(
    tables: dict[str, Any], seeds: int, sign: float = 1.0, shuffle: bool = False
) -> list[StorePrior]:
    """The 7 TransNAS tasks with 71 random cells each."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([7, seed])
        sources = []
        for j in range(7):
            rows = rng.choice(4096, 71, replace=False)
            values = sign * tables["values"][rows, j]
            values = rng.permutation(values) if shuffle else values
            sources.append(SourceTask(str(j), [tables["cells"][i] for i in rows], values))
        found.append(learn(sources, SPACE))
    return found


def hits(asked: np.ndarray, target: str) -> float:
    return float((asked == BEST[target]).any(axis=1).mean())


def ask_and_tell(strategy: StoreTransfer, rewards: np.ndarray, queries: int) -> list[int]:
    asked = []
    for _ in range(queries):
        arch = strategy.ask()
        asked.append(SPACE.index(arch))
        reward = float(rewards[asked[-1]])
        failed = Measurement.failed("NaN")
        strategy.tell(arch, failed if np.isnan(reward) else Measurement({"reward": reward}))
    return asked


def synthetic() -> np.ndarray:
    """A reward for each of the 15,625 cells: the number of convolutions, with noise."""
    codes = np.array([SPACE.at(i).values for i in range(SPACE.size)])
    noise = np.random.default_rng(5).standard_normal(SPACE.size)
    return np.isin(codes, (2, 3)).sum(axis=1) + 0.5 * noise


def small_prior() -> StorePrior:
    rng = np.random.default_rng(1)
    rewards = synthetic()
    sources = []
    for j in range(3):
        rows = rng.choice(SPACE.size, 40, replace=False)
        archs = [SPACE.at(int(i)) for i in rows]
        sources.append(SourceTask(str(j), archs, rewards[rows] + rng.standard_normal(40)))
    return learn(sources, SPACE)


@pytest.mark.parametrize("with_sources", [True, False])
def test_replicates_equal_the_sequential_strategy(with_sources: bool) -> None:
    rewards = synthetic()
    rewards[::7] = np.nan
    prior = small_prior() if with_sources else StorePrior(SPACE, ())
    batched = replicate_transfer(SPACE, rewards, range(3), 25, [prior] * 3)
    for seed in range(3):
        strategy = prior.strategy(SPACE, seed, (REWARD,))
        assert ask_and_tell(strategy, rewards, 25) == batched[seed].tolist()
    if not with_sources:
        by_name = strategies.replicate("store-transfer", SPACE, rewards, range(3), 25)
        np.testing.assert_array_equal(by_name, batched)


@pytest.mark.parametrize(("factor", "shift"), [(4.0, 0.0), (0.125, 0.0), (2.0, -64.0)])
def test_rewards_may_be_in_any_unit(factor: float, shift: float) -> None:
    rewards = np.round(synthetic(), 3)
    prior = small_prior()
    one = replicate_transfer(SPACE, rewards, [0], 30, [prior])
    other = replicate_transfer(SPACE, factor * rewards + shift, [0], 30, [prior])
    np.testing.assert_array_equal(one, other)


def test_a_restored_search_continues_exactly() -> None:
    rewards = synthetic()
    rewards[::5] = np.nan
    prior = small_prior()
    whole = prior.strategy(SPACE, 3, (REWARD,))
    asked = ask_and_tell(whole, rewards, 24)
    for stop in (0, 1, 2, 11):
        first = prior.strategy(SPACE, 3, (REWARD,))
        ask_and_tell(first, rewards, stop)
        state = json.loads(json.dumps(first.state()))
        second = prior.strategy(SPACE, 3, (REWARD,))
        second.restore(state)
        assert ask_and_tell(second, rewards, 24 - stop) == asked[stop:]


def test_several_may_be_asked_before_one_is_told() -> None:
    strategy = small_prior().strategy(SPACE, 0, (REWARD,))
    asked = [strategy.ask() for _ in range(5)]
    assert len(set(asked)) == 5
    for arch in reversed(asked):
        strategy.tell(arch, Measurement({"reward": float(sum(arch.values))}))
    assert strategy.ask() not in asked


@pytest.mark.parametrize("with_sources", [True, False])
def test_odd_measurements_do_not_crash(with_sources: bool) -> None:
    prior = small_prior() if with_sources else StorePrior(SPACE, ())
    strategy = prior.strategy(SPACE, 0, (REWARD,))
    arch = SPACE.at(0)
    for reward in (1.0, 1.0, 1.0):
        strategy.tell(arch, Measurement({"reward": reward}))
    for _ in range(8):
        arch = strategy.ask()
        strategy.tell(arch, Measurement({"reward": 1.0}))
    strategy.tell(strategy.ask(), Measurement.failed("out of memory"))
    for reward in (1.0 + 1e-13, 1e30, -1e30):
        strategy.tell(strategy.ask(), Measurement({"reward": reward}))
    strategy.ask()


def test_constant_sources_say_nothing() -> None:
    archs = [SPACE.at(i) for i in range(10)]
    prior = learn([SourceTask("flat", archs, [1.0] * 10)], SPACE)
    ask_and_tell(prior.strategy(SPACE, 0, (REWARD,)), synthetic(), 6)


def test_isomorphs_are_proposed_once_until_none_is_left() -> None:
    strategy = StorePrior(TINY, ()).strategy(TINY, 0, (REWARD,))
    asked = []
    for _ in range(8):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"reward": float(sum(asked[-1].values))}))
    assert len(set(asked)) == 8
    with pytest.raises(Exhausted):
        strategy.ask()


class Tiny(Space):
    name = "test-tiny"
    choices = tuple(Choice(f"c{i}", ("x", "y")) for i in range(3))


class Numbers(Space):
    """A number, and no choice."""

    name = "numbers"
    choices = ()
    ranges = (Range("rate", 0.0, 1.0),)


class Large(Space):
    name = "test-large"
    choices = tuple(Choice(f"layer {i}", ("a", "b", "c", "d")) for i in range(12))


TINY = Tiny()


def test_numbers_alone_are_searched_and_learnt_from() -> None:
    space = Numbers()
    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(40)]
    source = SourceTask("earlier", archs, [-abs(a.numbers[0] - 0.3) for a in archs])
    found = {}
    for name, prior in (("none", StorePrior(space, ())), ("one", learn([source], space))):
        strategy = prior.strategy(space, 0, (REWARD,))
        asked = [strategy.ask() for _ in range(3)]
        for arch in asked:
            space.validate(arch)
            strategy.tell(arch, Measurement({"reward": -abs(arch.numbers[0] - 0.3)}))
        found[name] = strategy.ask()
    assert found["one"].numbers[0] == pytest.approx(0.3, abs=0.1)


def test_large_spaces_are_searched_and_learnt_from() -> None:
    space = Large()

    def reward(values: tuple[int, ...]) -> float:
        return float(sum(v == 3 for v in values))

    rng = np.random.default_rng(0)
    archs = [space.sample(rng) for _ in range(60)]
    source = SourceTask("earlier", archs, [reward(a.values) for a in archs])
    best = {}
    for name, prior in (("none", StorePrior(space, ())), ("one", learn([source], space))):
        strategy = prior.strategy(space, 0, (REWARD,))
        rewards = []
        for _ in range(15):
            arch = strategy.ask()
            rewards.append(reward(arch.values))
            strategy.tell(arch, Measurement({"reward": rewards[-1]}))
        best[name] = max(rewards)
    at_random = max(reward(space.sample(rng).values) for _ in range(15))
    assert best["one"] >= 9 > at_random
    assert best["none"] > at_random


def test_priors_are_saved_and_loaded(tmp_path: Path) -> None:
    prior = small_prior()
    prior.save(tmp_path / "prior")
    loaded = StorePrior.load(tmp_path / "prior", SPACE)
    rewards = synthetic()
    one, other = (p.strategy(SPACE, 0, (REWARD,)) for p in (prior, loaded))
    assert ask_and_tell(one, rewards, 12) == ask_and_tell(other, rewards, 12)


def test_wrong_priors_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable"):
        StorePrior.load(tmp_path, SPACE)
    StorePrior(SPACE, ()).save(tmp_path)
    with pytest.raises(InputError, match="space 'nasbench201'"):
        StorePrior.load(tmp_path, TINY)
    with pytest.raises(InputError, match="space 'nasbench201'"):
        StorePrior(SPACE, ()).strategy(TINY)
    text = (tmp_path / "prior.json").read_text()
    (tmp_path / "prior.json").write_text(text.replace('"format": 2', '"format": 99'))
    with pytest.raises(InputError, match="format 99"):
        StorePrior.load(tmp_path, SPACE)
    (tmp_path / "prior.json").write_text(text[:20])
    with pytest.raises(InputError, match="not readable"):
        StorePrior.load(tmp_path, SPACE)
    with pytest.raises(InputError, match="one reward an architecture"):
        learn([SourceTask("short", [SPACE.at(0)], [1.0, 2.0])], SPACE)
    with pytest.raises(InputError, match="of space 'test-tiny'"):
        learn([SourceTask("other", [TINY.at(0)], [1.0])], SPACE)


def test_earlier_studies_help_and_cannot_mislead(tables: dict[str, Any]) -> None:
    seeds = 30
    cold = [StorePrior(SPACE, ())] * seeds
    pool = {
        "cold": cold,
        "as measured": pools(tables, seeds),
        "reversed": pools(tables, seeds, sign=-1.0),
        "permuted": pools(tables, seeds, shuffle=True),
    }
    rate = {
        name: np.mean(
            [hits(replicate_transfer(SPACE, tables[t], range(seeds), 50, p), t) for t in BEST]
        )
        for name, p in pool.items()
    }
    # 90 searches each: the standard error of a rate is at most 0.053.
    assert rate["as measured"] > 0.88
    assert rate["cold"] > 0.5
    assert rate["reversed"] > 0.9 * rate["cold"]
    assert rate["permuted"] > rate["cold"] - 0.15


def test_a_permuted_target_gives_nothing_away(tables: dict[str, Any]) -> None:
    """With rewards permuted over cells, only luck is left: the search reads nothing else."""
    rng = np.random.default_rng(0)
    seeds = 20
    found = 0
    priors = [StorePrior(SPACE, ())] * seeds
    permuted = rng.permutation(tables["c10"])
    asked = replicate_transfer(SPACE, permuted, range(seeds), 50, priors)
    for target in BEST.values():
        found += int((asked == target).any(axis=1).sum())
    # 50 of 4,930 classes a search: 0.6 hits expected of 60.
    assert found <= 5
