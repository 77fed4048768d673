"""CATCH as a strategy: the common contract, resuming, priors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.evaluation import Measurement, Objective
from transnas.meta.catch import (
    CatchPrior,
    CatchSettings,
    CatchStrategy,
    SyntheticFamily,
    meta_train,
)
from transnas.spaces import Architecture, Choice, Space
from transnas.testing.strategies import Factory, StrategyContract, Tiny

TINY = CatchSettings(hidden=8, z_size=3, candidates=8, updates=2, policy_updates=1, initial=3)


def made(space: Space, seed: int, objectives: Sequence[Objective]) -> CatchStrategy:
    return CatchStrategy(space, seed, objectives, TINY)


class TestCatch(StrategyContract):
    @pytest.fixture
    def factory(self) -> Factory:
        return made


def measured(arch: Architecture) -> Measurement:
    return Measurement({"validation_accuracy": sum(v * (i + 1) for i, v in enumerate(arch.values))})


def asks(strategy: CatchStrategy, count: int) -> list[Architecture]:
    found = []
    for i in range(count):
        found.append(strategy.ask())
        failed = i % 7 == 6
        strategy.tell(found[-1], Measurement.failed("NaN") if failed else measured(found[-1]))
    return found


def test_a_state_continues_bit_for_bit_after_every_query() -> None:
    space = spaces.get("nasbench201")
    strategy = CatchStrategy(space, 3, settings=TINY)
    states = [json.dumps(strategy.state())]
    for _ in range(20):
        asks(strategy, 1)
        states.append(json.dumps(strategy.state()))
    for at in range(0, 20, 3):
        resumed = CatchStrategy(space, 3, settings=TINY)
        resumed.restore(json.loads(states[at]))
        asks(resumed, 1)
        assert json.dumps(resumed.state()) == states[at + 1]


@pytest.fixture(scope="module")
def prior() -> CatchPrior:
    space = spaces.get("nasbench201")
    return meta_train(SyntheticFamily(space), space, [0], TINY, epochs=2, queries=8).prior()


def test_a_saved_prior_gives_the_same_asks(prior: CatchPrior, tmp_path: Path) -> None:
    space = spaces.get("nasbench201")
    prior.save(tmp_path / "prior")
    loaded = CatchPrior.load(tmp_path / "prior", space)
    assert loaded.settings == prior.settings
    base = asks(prior.strategy(space, 1), 12)
    assert asks(loaded.strategy(space, 1), 12) == base
    named = CatchStrategy(space, 1, settings=TINY_WITH(prior=str(tmp_path / "prior")))
    assert asks(named, 12) == base
    assert base != asks(CatchStrategy(space, 1, settings=TINY), 12)


TINY_WITH = partial(CatchSettings, hidden=8, z_size=3, candidates=8, updates=2, policy_updates=1,
                    initial=3)  # fmt: skip


def test_what_cannot_be_a_prior_is_refused_in_a_sentence(prior: CatchPrior, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not readable"):
        CatchStrategy(Tiny(), settings=CatchSettings(prior=str(tmp_path)))
    prior.save(tmp_path)
    with pytest.raises(InputError, match="space 'nasbench201'"):
        CatchPrior.load(tmp_path, Tiny())

    class More(Space):
        name = "nasbench201"
        choices = tuple(
            Choice(c.name, (*c.values, "new")) for c in spaces.get("nasbench201").choices
        )

    with pytest.raises(InputError, match="other choices"):
        prior.strategy(More())
    with pytest.raises(InputError, match=r"'hidden' is 64, .* have 8; accepted with this prior: 8"):
        CatchStrategy(spaces.get("nasbench201"), settings=CatchSettings(z_size=3), prior=prior)
    data = json.loads((tmp_path / "prior.json").read_text())
    (tmp_path / "prior.json").write_text(json.dumps({**data, "settings": {"colour": "red"}}))
    with pytest.raises(InputError, match="not readable"):
        CatchPrior.load(tmp_path, spaces.get("nasbench201"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", "none"),
        ("replay_share", 0.0),
        ("epsilon", 2),
        ("hidden", 0),
        ("hidden", 2.5),
        ("hidden", "64"),
        ("updates", True),
        ("kl_weight", None),
        ("learning_rate", float("inf")),
        ("entropy", float("nan")),
        ("masking", "no"),
    ],
)
def test_settings_outside_their_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"setting '{name}' is {value!r}; accepted: "):
        CatchSettings(**{name: value})  # type: ignore[arg-type]


def test_two_directions_of_one_metric_are_mirror_images() -> None:
    def run(sign: int, make: Callable[[Objective], CatchStrategy]) -> list[Architecture]:
        strategy = make(Objective("m", maximise=sign > 0))
        found = []
        for _ in range(10):
            found.append(strategy.ask())
            strategy.tell(found[-1], Measurement({"m": sign * float(np.sum(found[-1].values))}))
        return found

    space = spaces.get("nasbench201")
    make = lambda o: CatchStrategy(space, 0, (o,), TINY)  # noqa: E731
    assert run(1, make) == run(-1, make)
