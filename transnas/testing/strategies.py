"""`StrategyContract`: what every ask/tell strategy must do, as a pytest class.

    class TestMine(StrategyContract):
        @pytest.fixture
        def factory(self):
            return Mine          # or any function (space, seed, objectives) -> Strategy

A strategy that does not take a space says so with an `InputError`, and is skipped on it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transnas import spaces
from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Choice, Range, Space
from transnas.strategies import Exhausted, Strategy

__all__ = ["Factory", "Mixed", "StrategyContract", "Tiny", "VariableDepth"]

Factory = Callable[[Space, int, Sequence[Objective]], Strategy]

OBJECTIVE = Objective("score")
OBJECTIVES = (OBJECTIVE, Objective("size", maximise=False))


class Tiny(Space):
    """Six architectures, soon exhausted."""

    name = "tiny"
    choices = (Choice("op", ("a", "b", "c")), Choice("width", ("8", "16")))


class VariableDepth(Space):
    """A masked chain of up to four layers: after `stop` there is nothing but `stop`."""

    name = "variable-depth"
    choices = tuple(Choice(f"layer {i}", ("stop", "a", "b", "c")) for i in range(4))

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        ended = bool(prefix) and prefix[-1] == 0
        return np.array([True, not ended, not ended, not ended])


class Mixed(Space):
    """A choice beside two numbers."""

    name = "mixed"
    choices = (Choice("op", ("a", "b", "c")),)
    ranges = (Range("learning rate", 1e-3, 1.0, log=True), Range("momentum", 0.0, 1.0))


Kind = Literal["ask", "tell", "again", "stranger", "fail", "nan"]


@dataclass(frozen=True)
class Call:
    """One step of a script: what is done, and which architecture or value it is done with."""

    kind: Kind
    pick: int


calls = st.builds(
    Call,
    # Mostly asks and tells; a told result is a coarse number, so that ties are common.
    st.sampled_from(
        ("ask", "ask", "ask", "ask", "tell", "tell", "tell", "again", "stranger", "fail", "nan")
    ),
    st.integers(0, 1000),
)
scripts = st.lists(calls, max_size=30)
seeds = st.integers(0, 2**32 - 1)
checked = settings(
    max_examples=12,
    deadline=None,
    # A contract is inherited by many test classes: each runs it by itself.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class Player:
    """Plays scripts of calls on a strategy, as workers would that come and go."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.pending: list[Architecture] = []
        self.told: list[Architecture] = []
        self.seen: list[Architecture | None] = []

    def play(self, script: Sequence[Call]) -> list[Architecture | None]:
        """Return all proposals so far after these calls; None where it was exhausted."""
        for call in script:
            self._do(call)
        return self.seen

    def _do(self, call: Call) -> None:
        space = self.strategy.space
        if call.kind == "ask":
            self.ask()
        elif call.kind == "stranger":
            arch = space.sample(np.random.default_rng(call.pick))
            self.strategy.tell(arch, measured(call.pick % 7))
        elif call.kind == "again":
            if self.told:
                arch = self.told[call.pick % len(self.told)]
                self.strategy.tell(arch, measured(call.pick % 5))
        elif self.pending:
            arch = self.pending.pop(call.pick % len(self.pending))
            self.told.append(arch)
            self.strategy.tell(arch, self._result(call))

    def _result(self, call: Call) -> Measurement:
        if call.kind == "fail":
            return Measurement.failed("out of memory")
        return measured(float("nan") if call.kind == "nan" else call.pick % 7)

    def ask(self) -> Architecture | None:
        """Ask once, and check the proposal."""
        try:
            arch = self.strategy.ask()
        except Exhausted:
            self.seen.append(None)
            return None
        self.strategy.space.validate(arch)
        self.pending.append(arch)
        self.seen.append(arch)
        return arch


def measured(value: float) -> Measurement:
    """Return a measurement of both objectives."""
    return Measurement({"score": value, "size": (value * 3) % 5})


def value_of(arch: Architecture) -> float:
    """Return a made-up accuracy with ties and a single best architecture."""
    return sum(arch.values) / 10 + sum(arch.numbers) / 100


Make = Callable[[int], Strategy]
"""Makes the strategy under test on the space under test, from a seed."""


class StrategyContract:
    """Properties of a `Strategy`. Subclasses override the fixture `factory`, perhaps `space`."""

    @pytest.fixture
    def factory(self) -> Factory:
        """Return what makes the strategy under test."""
        raise NotImplementedError("override the fixture `factory`")

    @pytest.fixture(params=["nasbench201", Tiny, VariableDepth, Mixed])
    def space(self, request: pytest.FixtureRequest) -> Space:
        """Return the space under test."""
        made: Space = (
            spaces.get(request.param) if isinstance(request.param, str) else request.param()
        )
        return made

    @pytest.fixture
    def make(self, factory: Factory, space: Space) -> Make:
        """Return the factory on one space with one objective; skips where it is not accepted."""
        try:
            factory(space, 0, (OBJECTIVE,))
        except InputError as refusal:
            pytest.skip(str(refusal))
        return lambda seed: factory(space, seed, (OBJECTIVE,))

    # Determinism ----------------------------------------------------------------------------

    @checked
    @given(script=scripts, seed=seeds)
    def test_same_seed_and_calls_give_the_same_proposals(
        self, make: Make, script: list[Call], seed: int
    ) -> None:
        first, second = make(seed), make(seed)
        assert Player(first).play(script) == Player(second).play(script)
        assert first.state() == second.state()

    @checked
    @given(script=scripts, seed=seeds, cut=st.integers(0, 30))
    def test_a_restored_strategy_continues_exactly(
        self, make: Make, script: list[Call], seed: int, cut: int
    ) -> None:
        player = Player(make(seed))
        player.play(script[:cut])
        text = json.dumps(player.strategy.state(), allow_nan=False)
        restored = Player(make(seed))
        restored.strategy.restore(json.loads(text))
        assert json.dumps(restored.strategy.state()) == text
        restored.pending, restored.told = list(player.pending), list(player.told)
        restored.seen = list(player.seen)
        rest = [*script[cut:], *[Call("ask", 0)] * 3]
        assert restored.play(rest) == player.play(rest)

    def test_a_state_does_not_change_afterwards(self, make: Make) -> None:
        player = Player(make(0))
        player.play([Call("ask", 0), Call("tell", 3)] * 3)
        state = player.strategy.state()
        text = json.dumps(state)
        player.play([Call("ask", 0), Call("tell", 5)] * 3)
        assert json.dumps(state) == text

    def test_strategies_share_no_state(self, make: Make) -> None:
        alone, other = Player(make(1)), Player(make(1))
        between = Player(make(2))
        for pick in range(8):
            script = [Call("ask", 0), Call("tell", pick)]
            between.play(script)
            alone.play(script)
            between.play(script)
        assert other.play([c for p in range(8) for c in (Call("ask", 0), Call("tell", p))]) == (
            alone.seen
        )

    def test_global_random_numbers_are_left_alone(self, make: Make) -> None:
        legacy = partial(np.random.get_state, legacy=True)
        before = random.getstate(), str(legacy())
        Player(make(0)).play([Call("ask", 0), Call("tell", 3)] * 5)
        assert (random.getstate(), str(legacy())) == before

    # Any order of calls ---------------------------------------------------------------------

    @checked
    @given(script=scripts, seed=seeds)
    def test_any_calls_are_taken(self, make: Make, script: list[Call], seed: int) -> None:
        for arch in Player(make(seed)).play(script):
            assert arch is None or isinstance(arch, Architecture)

    def test_many_workers_may_ask_before_the_first_tell(self, make: Make, space: Space) -> None:
        player = Player(make(0))
        player.play([Call("ask", 0)] * 25)
        assert None not in player.seen or set(player.seen) - {None} == set(space.architectures())
        player.play([Call("tell", 1), Call("ask", 0)] * 5)

    def test_failures_alone_do_not_stop_it(self, make: Make, space: Space) -> None:
        player = Player(make(0))
        player.play([Call("ask", 0), Call("fail", 0), Call("ask", 0), Call("nan", 0)] * 10)
        assert None not in player.seen or set(player.seen) - {None} == set(space.architectures())

    def test_it_is_exhausted_only_when_all_was_tried(self, make: Make, space: Space) -> None:
        player = Player(make(0))
        proposed: set[Architecture] = set()
        for _ in range(60):
            arch = player.ask()
            if arch is None:
                assert proposed == set(space.architectures())
                break
            proposed.add(arch)
            player.strategy.tell(arch, measured(value_of(arch)))

    # Objectives and settings ----------------------------------------------------------------

    @pytest.mark.usefixtures("make")
    def test_two_objectives_are_taken_or_refused(self, factory: Factory, space: Space) -> None:
        try:
            strategy = factory(space, 0, OBJECTIVES)
        except InputError:
            with pytest.raises(InputError, match="objective"):
                factory(space, 0, OBJECTIVES)
        else:
            assert strategy.max_objectives >= len(OBJECTIVES)
            Player(strategy).play([Call("ask", 0), Call("tell", 4)] * 12)

    def test_settings_are_a_frozen_dataclass_with_defaults(self, make: Make) -> None:
        kind = type(make(0)).Settings
        assert is_dataclass(kind)
        default: Any = kind()
        assert hash(default) == hash(kind())
        for field in fields(kind):
            with pytest.raises(FrozenInstanceError):
                setattr(default, field.name, None)
