"""catch+: what it adds to the store model, and that without it it is the store model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm, rankdata

from transnas import InputError, spaces
from transnas.evaluation import Measurement, Objective
from transnas.meta.catch.plus import (
    CatchPlus,
    CatchPlusPrior,
    CatchPlusSettings,
    learn_plus,
    replicate_plus,
)
from transnas.meta.catch.plus.latent import MEMBERS, Rows, fit, inputs_of
from transnas.meta.catch.plus.model import LatentColumns, ensemble
from transnas.meta.catch.plus.prior import _rows, latents_of
from transnas.meta.store import SourceTask, learn, replicate_transfer
from transnas.spaces import Choice, Space
from transnas.strategies import Strategy
from transnas.strategies.bayesian import Kernel, describe, listed
from transnas.testing.strategies import Factory, StrategyContract, Tiny, VariableDepth

OFF = CatchPlusSettings(latent_share=0.0, learnt_mean=False, ensemble=False)


class Five(Space):
    """Five free choices of three."""

    name = "five"
    choices = tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(5))


FIVE = Five()


@cache
def of_space(space: Space, seed: int = 0) -> tuple[SourceTask, ...]:
    """Three studies of 20 random architectures; their rewards favour the same values."""
    rng = np.random.default_rng(seed)
    archs = [[space.sample(rng) for _ in range(20)] for _ in range(3)]
    weight = rng.standard_normal((3, len(space.choices))) * 0.2 + 1
    return tuple(
        SourceTask(str(j), rows, [float(w @ np.array(a.values)) for a in rows])
        for j, (rows, w) in enumerate(zip(archs, weight, strict=True))
    )


def table(space: Space) -> npt.NDArray[np.float64]:
    """The rewards of a task like the sources', by index."""
    noise = np.random.default_rng(1).standard_normal(space.size)
    return np.array([sum(a.values) for a in space.architectures()]) + 0.3 * noise


class TestCatchPlus(StrategyContract):
    @pytest.fixture(params=[Tiny, VariableDepth])
    def space(self, request: pytest.FixtureRequest) -> Space:
        made: Space = request.param()
        return made

    @pytest.fixture
    def factory(self) -> Factory:
        def made(space: Space, seed: int, objectives: Sequence[Objective]) -> Strategy:
            # The networks are the same for every seed, so that learning happens once a space.
            return _prior(space).strategy(space, seed, objectives)

        return made


@cache
def _prior(space: Space) -> CatchPlusPrior:
    return learn_plus(of_space(space), space)


def test_with_every_part_off_it_is_the_store_model() -> None:
    priors = [learn(of_space(FIVE, seed), FIVE) for seed in range(3)]
    latents = latents_of(priors, [0, 1, 2])
    rewards = table(FIVE)
    store = replicate_transfer(FIVE, rewards, range(3), 30, priors)
    off = replicate_plus(FIVE, rewards, range(3), 30, priors, latents, OFF)
    np.testing.assert_array_equal(off, store)
    for part in ({"latent_share": 0.3}, {"learnt_mean": True}):
        settings = replace(OFF, **part)
        found = replicate_plus(FIVE, rewards, range(3), 30, priors, latents, settings)
        assert not np.array_equal(found, store)


def test_replicates_equal_the_strategy() -> None:
    rewards, objective = table(FIVE), Objective("reward")
    prior = learn_plus(of_space(FIVE), FIVE, seed=4)
    asked = replicate_plus(FIVE, rewards, [4], 20, [prior.store], [prior.latent])
    strategy, found = prior.strategy(FIVE, 4, (objective,)), []
    for _ in range(20):
        arch = strategy.ask()
        found.append(FIVE.index(arch))
        strategy.tell(arch, Measurement({"reward": float(rewards[found[-1]])}))
    assert asked[0].tolist() == found


def test_networks_learn_alone_what_they_learn_together() -> None:
    priors = [learn(of_space(FIVE, seed), FIVE) for seed in range(3)]
    together = latents_of(priors, [5, 6, 7])
    for prior, seed, latent in zip(priors, (5, 6, 7), together, strict=True):
        (alone,) = latents_of([prior], [seed])
        assert alone is not None
        assert latent is not None
        assert alone.members == MEMBERS
        for name, array in alone.arrays.items():
            np.testing.assert_allclose(latent.arrays[name], array, rtol=1e-3, atol=1e-4)


def test_networks_are_taught_the_ranks_of_the_whole_study(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    archs = [FIVE.at(int(i)) for i in rng.choice(FIVE.size, 60, replace=False)]
    # More than half of the rewards are tied.
    rewards = np.array([max(sum(a.values), 5) for a in archs], dtype=np.float64)
    known = dict(zip(archs, norm.ppf((rankdata(rewards) - 0.5) / 60), strict=True))
    for most in (60, 20):
        monkeypatch.setattr("transnas.meta.store._sources.MOST_OBSERVATIONS", most)
        prior = learn([SourceTask("s", archs, rewards)], FIVE)
        taught, kept = _rows(prior), prior.sources[0].architectures
        assert taught is not None
        assert len(kept) == most
        np.testing.assert_allclose(taught.scores, [known[a] for a in kept])


def test_networks_do_not_depend_on_the_order_of_a_study() -> None:
    rng = np.random.default_rng(0)
    archs = [FIVE.at(int(i)) for i in rng.choice(FIVE.size, 40, replace=False)]
    rewards = np.array([max(sum(a.values), 5) for a in archs], dtype=np.float64)
    order = rng.permutation(40)
    told = [(archs, rewards), ([archs[i] for i in order], rewards[order])]
    candidates = listed(FIVE)
    inputs = inputs_of(FIVE, candidates.features, candidates.kernel)
    predicted = []
    for a, r in told:
        (latent,) = latents_of([learn([SourceTask("s", a, r)], FIVE)], [0])
        assert latent is not None
        predicted.append(latent.apply(inputs)[1])
    np.testing.assert_allclose(*predicted, atol=1e-2)


def test_heads_predict_the_scores_of_networks_that_were_not_seen() -> None:
    candidates = listed(FIVE)
    inputs = inputs_of(FIVE, candidates.features, candidates.kernel)
    codes = np.array([a.values for a in candidates.archs])
    truth = np.stack([(codes == 1).sum(axis=1), (codes == 2).sum(axis=1)]).astype(np.float64)
    rng = np.random.default_rng(0)
    rows = rng.choice(len(codes), 160, replace=False)
    source = rng.integers(2, size=160)
    (latent,) = fit([Rows(inputs[rows], source, truth[source, rows], 2)], [0])
    latents, predicted = latent.apply(inputs)
    assert latents.shape == (len(codes), MEMBERS * 32)
    unseen = np.setdiff1d(np.arange(len(codes)), rows)
    for j in range(2):
        assert np.corrcoef(predicted[j, unseen], truth[j, unseen])[0, 1] > 0.9


def test_inputs_are_shares_of_the_values_of_a_class() -> None:
    cells = spaces.get("nasbench201")
    archs = [cells.at(i) for i in (0, 6111)]
    features = describe(cells, archs, {archs[0]: archs, archs[1]: archs[1:]})
    inputs = inputs_of(cells, features, Kernel(features))
    width = len(cells.choices[0].values)
    shares = inputs[:, : 6 * width].reshape(2, 6, width)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-6)
    first, second = (cells.pruned(a).values for a in archs)
    for edge, (a, b) in enumerate(zip(first, second, strict=True)):
        assert shares[1, edge, b] == 1
        assert shares[0, edge, a] == (1 if a == b else 0.5)


def test_the_latent_kernel_is_symmetric_positive_and_one_on_itself() -> None:
    candidates = listed(FIVE)
    latents = np.random.default_rng(0).standard_normal((len(candidates), 4)).astype(np.float32)
    columns = LatentColumns(candidates, latents, 0.3)
    gram = np.array([columns.column(i) for i in range(len(columns))], dtype=np.float64)
    np.testing.assert_allclose(gram, gram.T, atol=1e-5)
    np.testing.assert_allclose(np.diag(gram), 1, atol=1e-5)
    assert np.linalg.eigvalsh(gram).min() > -1e-4


def test_a_prior_is_saved_and_gives_the_same_asks(tmp_path: Path) -> None:
    prior = learn_plus(of_space(FIVE), FIVE, settings=CatchPlusSettings(latent_share=0.5))
    prior.save(tmp_path / "p")
    loaded = CatchPlusPrior.load(tmp_path / "p", FIVE)
    assert loaded.settings == prior.settings
    rewards = table(FIVE)
    asked = [
        replicate_plus(FIVE, rewards, [0], 15, [p.store], [p.latent], p.settings)
        for p in (prior, loaded)
    ]
    np.testing.assert_array_equal(*asked)
    named = CatchPlusSettings(prior=str(tmp_path / "p"))
    from transnas.meta.catch.plus import CatchPlus

    strategy = CatchPlus(FIVE, settings=named)
    assert FIVE.index(strategy.ask()) == asked[0][0, 0]


def test_a_space_with_other_choices_since_is_refused(tmp_path: Path) -> None:
    prior = _prior(FIVE)
    prior.save(tmp_path)

    def changed(values: tuple[str, ...]) -> Space:
        class Changed(Space):
            name = "five"
            choices = tuple(Choice(f"c{i}", values) for i in range(5))

        return Changed()

    for values in (("a", "b", "c", "d"), ("c", "b", "a"), ("a", "b")):
        for use in (
            lambda space: CatchPlusPrior.load(tmp_path, space),
            lambda space: CatchPlus(space, settings=CatchPlusSettings(prior=str(tmp_path))),
            prior.strategy,
        ):
            with pytest.raises(InputError, match="learnt on space 'five' with other choices"):
                use(changed(values))
    assert CatchPlusPrior.load(tmp_path, changed(("a", "b", "c"))).strategy(FIVE).ask()


def test_sources_without_structure_or_none_leave_a_search_from_scratch() -> None:
    flat = SourceTask(
        "flat", [a for a, _ in zip(FIVE.architectures(), range(8), strict=False)], [1.0] * 8
    )
    for sources in ([], [flat]):
        prior = learn_plus(sources, FIVE)
        assert prior.latent is None
        rewards = table(FIVE)
        asked = replicate_plus(FIVE, rewards, [0], 10, [prior.store], [None])
        same = replicate_transfer(FIVE, rewards, [0], 10, [prior.store])
        np.testing.assert_array_equal(asked, same)
    assert ensemble(listed(FIVE), (), None, CatchPlusSettings()).relations == 1


def test_what_cannot_be_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from transnas.testing.strategies import Mixed

    with pytest.raises(InputError, match="number ranges"):
        learn_plus([], Mixed())
    for bad in ({"latent_share": 1.0}, {"latent_share": "0.3"}, {"ensemble": "x"}):
        with pytest.raises(InputError, match=f"setting '{next(iter(bad))}' is .*; accepted: "):
            CatchPlusSettings(**bad)
    prior = learn_plus(of_space(FIVE), FIVE)
    with pytest.raises(InputError, match="space 'five'"):
        prior.strategy(spaces.get("nasbench201"))
    prior.save(tmp_path)
    with pytest.raises(InputError, match="space 'five'"):
        CatchPlusPrior.load(tmp_path, spaces.get("nasbench201"))


@pytest.mark.slow
def test_it_finds_the_best_cell_of_a_table(data_file: Callable[[str], Path]) -> None:
    cells = spaces.get("nasbench201")
    with np.load(data_file("nas/nasbench201.npz")) as file:
        rewards = file["val12_c10"].astype(np.float64)
    with np.load(data_file("nas/transnas101.npz")) as file:
        ops, values = file["micro_ops"], file["micro_val"].astype(np.float64)
    priors = []
    for seed in range(6):
        rng = np.random.default_rng([7, seed])
        rows = [rng.choice(4096, 71, replace=False) for _ in range(7)]
        drawn = [
            SourceTask(str(j), [cells.architecture(ops[i]) for i in r], values[r, j])
            for j, r in enumerate(rows)
        ]
        priors.append(learn(drawn, cells))
    asked = replicate_plus(cells, rewards, range(6), 50, priors, latents_of(priors, range(6)))
    assert (asked == 6111).any(axis=1).sum() >= 5
    # The leak detector: with the table's rewards permuted over cells it is as good as chance.
    shuffled = np.random.default_rng(0).permutation(rewards)
    asked = replicate_plus(cells, shuffled, range(6), 50, priors, latents_of(priors, range(6)))
    assert (asked == shuffled.argmax()).any(axis=1).sum() <= 1
