"""Progressive search: published counts, the true beam, surrogates that extrapolate."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import spearmanr

from transnas import InputError, spaces, strategies
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.spaces._growing import GrowingCells, growing_choices
from transnas.strategies import _cell_surrogates
from transnas.strategies._cell_surrogates import Ensemble, LSTMSurrogate, MLPSurrogate
from transnas.strategies.pnas import PNAS, PNASSettings, Score
from transnas.testing.strategies import Factory, StrategyContract, Tiny

OBJECTIVE = Objective("score")


class Small(GrowingCells):
    """Up to three blocks of three operations."""

    name = "small-growing"
    kinds = ("cell",)
    choices = growing_choices("cell", 3, ("a", "b", "c"))


def value_of(codes: Sequence[int]) -> float:
    """Return a made-up accuracy that no two cells in a test share: blocks count less and less."""
    weights = np.cos(np.arange(1, 5))
    blocks = np.array(codes, dtype=float).reshape(-1, 4)
    symmetric = blocks[:, [1, 0, 3, 2]]
    scores = np.sin(blocks @ weights + 1) + np.sin(symmetric @ weights + 1)
    return float((scores * 0.7 ** np.arange(len(blocks))).sum())


def told(space: GrowingCells, arch: Architecture) -> Measurement:
    return Measurement({"score": value_of(arch.values[: 4 * space.blocks(arch)])})


class Perfect(PNAS):
    """Knows every result."""

    def _fit(self) -> Score:
        return lambda codes: np.array([value_of(row) for row in codes.tolist()])


def run(strategy: PNAS, count: int) -> list[Architecture]:
    asked = []
    for _ in range(count):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], told(strategy._cells, asked[-1]))
    return asked


def test_a_perfect_surrogate_returns_the_true_beam() -> None:
    space, beam = Small(), 12
    asked = run(Perfect(space, 0, (OBJECTIVE,), PNASSettings(beam=beam)), 21 + 2 * beam)
    one = asked[:21]  # (2 x 3 pairs of input and operation, two of them in any order)
    assert {space.canonical(a) for a in one} == {space.canonical(a) for a in space.extensions()}
    before = one
    for start in (21, 21 + beam):
        parents = sorted(before, key=lambda a: -told(space, a).metrics["score"])[:beam]
        everything: dict[Architecture, float] = {}
        for parent in parents:  # by brute force
            for arch in space.extensions(parent):
                key = space.canonical(arch)
                value = told(space, arch).metrics["score"]
                everything[key] = max(value, everything.get(key, -np.inf))
        best = sorted(everything, key=lambda a: -everything[a])[:beam]
        found = asked[start : start + beam]
        assert [space.canonical(a) for a in found] == best
        before = found


def test_it_tries_136_cells_and_then_a_beam_of_each_size() -> None:
    space = spaces.get("pnas-growing")
    assert isinstance(space, GrowingCells)
    strategy = Perfect(space, 0, (OBJECTIVE,), PNASSettings(beam=4))
    sizes = [space.blocks(a) for a in run(strategy, 136 + 4 * 4)]
    assert sizes == [1] * 136 + [b for b in (2, 3, 4, 5) for _ in range(4)]
    assert 136 + 4 * PNASSettings().beam == 1160  # published


def test_workers_that_wait_for_results_are_given_the_next_best() -> None:
    strategy = Perfect(Small(), 0, (OBJECTIVE,), PNASSettings(beam=3))
    run(strategy, 21)
    asked = [strategy.ask() for _ in range(8)]
    assert {strategy._cells.blocks(a) for a in asked[:6]} == {2}
    assert len(set(asked)) == 8


def test_an_ensemble_sees_all_results_between_a_tenth_and_nine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Any, ...]] = []

    class Watched:
        def __init__(self, kind: str, sizes: tuple[int, int], data: Any, **given: Any) -> None:
            seen.append((kind, sizes, data, given))

        def predict(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            return np.zeros(len(tokens))

    monkeypatch.setattr(_cell_surrogates, "Ensemble", Watched)
    space = Small()
    strategy = PNAS(space, 0, (OBJECTIVE,), PNASSettings(beam=5, members=3, epochs=7))
    asked = run(strategy, 21 + 5 + 1)[:-1]
    assert [len(data) for _, _, data, _ in seen] == [1, 2]
    kind, sizes, data, given = seen[1]
    assert (kind, given["members"], given["epochs"]) == ("mlp", 3, 7)
    # The last block reads one of four states, or is absent.
    assert sizes == (5, 4)
    values = np.array([told(space, a).metrics["score"] for a in asked])
    low, high = values.min(), values.max()
    for (tokens, targets), part in zip(data, (slice(21), slice(21, 26)), strict=True):
        codes = [a.values[: 4 * space.blocks(a)] for a in asked[part]]
        assert tokens.tolist() == [list(c) for c in codes]
        np.testing.assert_allclose(targets, 0.1 + 0.8 * (values[part] - low) / (high - low))


@pytest.mark.parametrize(("sizes", "rate"), [((1,), 0.01), ((1, 2), 0.002)])
def test_each_member_is_trained_without_a_part_of_its_own(
    sizes: tuple[int, ...], rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(_cell_surrogates, "_train", lambda *given: trained.append(given))
    data = [(t, np.arange(30) / 64 + size) for size, (t, _) in enumerate(data_of(sizes, 30, 0))]
    Ensemble("mlp", (4, 8), data, members=5, epochs=2, seed=0)
    assert [given[2:] for given in trained] == [(2, rate)] * 5
    for i, (tokens, targets) in enumerate(data):
        kept = [sorted(parts[i][1].tolist()) for _, parts, *_ in trained]
        assert [len(k) for k in kept] == [24] * 5
        assert sorted(value for k in kept for value in k) == sorted(4 * targets.tolist())
        rows = dict(zip(targets.tolist(), tokens.tolist(), strict=True))
        for _, parts, *_ in trained:
            for row, target in zip(parts[i][0].tolist(), parts[i][1].tolist(), strict=True):
                assert rows[target] == row


def test_a_single_member_is_trained_on_half_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(_cell_surrogates, "_train", lambda *given: trained.append(given))
    Ensemble("mlp", (4, 8), data_of((1,), 30, 0), members=1, epochs=2, seed=0)
    assert [len(targets) for _, targets in trained[0][1]] == [15]


def test_surrogates_learn_the_median() -> None:
    tokens = np.zeros((60, 4), dtype=np.int64)
    targets = np.where(np.arange(60) % 3 == 0, 0.9, 0.3)
    ensemble = Ensemble("mlp", (4, 8), [(tokens, targets)], members=2, epochs=80, seed=0)
    assert ensemble.predict(tokens[:1])[0] == pytest.approx(0.3, abs=0.05)  # the mean is 0.5


def test_what_failed_is_the_last_to_grow() -> None:
    strategy = Perfect(Small(), 0, (OBJECTIVE,), PNASSettings(beam=12))
    asked = [strategy.ask() for _ in range(21)]
    for arch in asked[:6]:
        strategy.tell(arch, Measurement.failed("NaN"))
    for arch in asked[6:]:
        strategy.tell(arch, told(strategy._cells, arch))
    by_value = sorted(asked[6:], key=lambda a: -told(strategy._cells, a).metrics["score"])
    assert strategy._best(asked, 12) == by_value[:12]
    assert strategy._best(asked, 18) == by_value + asked[:3]


@pytest.mark.parametrize("mean", [0.2, 0.7, 0.0])
def test_biases_start_at_the_mean_target_and_predictions_are_means(mean: float) -> None:
    tokens = data_of((1,), 20, 0)[0][0]
    targets = np.full(20, mean)
    ensemble = Ensemble("mlp", (4, 8), [(tokens, targets)], members=3, epochs=0, seed=0)
    for member in ensemble.members:
        start = torch.sigmoid(member.last.bias.detach()).item()
        assert start == pytest.approx(max(mean, 0.01), abs=1e-6)
    each = torch.stack([member.predict(tokens) for member in ensemble.members])
    np.testing.assert_allclose(ensemble.predict(tokens), each.mean(dim=0).numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", [LSTMSurrogate, MLPSurrogate])
def test_predictions_of_many_cells_equal_those_of_each(
    kind: type[LSTMSurrogate] | type[MLPSurrogate],
) -> None:
    torch.manual_seed(0)
    member = kind(5, 4).double()
    tokens = np.random.default_rng(0).integers(0, 3, (200, 12))
    tokens = tokens[np.lexsort(tokens.T[::-1])]
    tokens[50:60] = tokens[49]  # neighbours that are equal
    alone = torch.cat([member(torch.as_tensor(row)[None]) for row in tokens])
    assert torch.allclose(member.predict(tokens), alone.detach(), atol=1e-12)


def data_of(
    sizes: Sequence[int], count: int, seed: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Return cells with an accuracy that adds up over blocks, scaled to 0..1."""
    rng = np.random.default_rng(seed)
    gain = np.linspace(-1, 1, 8)
    found = []
    for size in sizes:
        tokens = np.concatenate(
            [
                np.stack([rng.integers(0, b + 2, count) for _ in range(2)]
                         + [rng.integers(0, 8, count) for _ in range(2)], axis=1)
                for b in range(size)
            ],
            axis=1,
        )  # fmt: skip
        blocks = tokens.reshape(count, size, 4)
        mean = (gain[blocks[..., 2]] + gain[blocks[..., 3]]).mean(axis=1)
        found.append((tokens, 0.5 + 0.2 * mean))
    return found


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_an_ensemble_extrapolates_to_larger_cells(kind: str) -> None:
    train = data_of((1, 2), 300, 0)
    [(tokens, targets)] = data_of((3,), 200, 1)
    ensemble = Ensemble(kind, (6, 8), train, members=2, epochs=40, seed=0)  # type: ignore[arg-type]
    assert spearmanr(ensemble.predict(tokens), targets).statistic > 0.9


@pytest.mark.parametrize("surrogate", ["mlp", "lstm"])
def test_surrogates_beat_random_cells_of_the_largest_size(surrogate: str) -> None:
    space = Small()
    settings = PNASSettings(beam=10, surrogate=surrogate, members=2, epochs=20)  # type: ignore[arg-type]
    asked = run(PNAS(space, 0, (OBJECTIVE,), settings), 41)
    found = [told(space, a).metrics["score"] for a in asked[31:]]
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(200)]
    assert np.mean(found) > np.quantile([told(space, a).metrics["score"] for a in drawn], 0.8)


def made(space: Space, seed: int, objectives: Sequence[Objective]) -> PNAS:
    return PNAS(space, seed, objectives, PNASSettings(beam=3, members=2, epochs=1))


class TestContract(StrategyContract):
    @pytest.fixture
    def factory(self) -> Factory:
        return partial(made)

    @pytest.fixture
    def space(self) -> Space:
        return Small()


def test_spaces_without_smaller_cells_are_refused() -> None:
    with pytest.raises(InputError, match="pnas-growing"):
        strategies.create("pnas", Tiny())
