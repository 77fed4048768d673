"""The ask/tell contract of every strategy that tries one architecture after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.strategies._stream import Stream

if TYPE_CHECKING:
    from transnas.tasks import Task

__all__ = [
    "Exhausted",
    "NoSettings",
    "Strategy",
    "generator_state",
    "require_categorical",
    "restore_generator",
]


class Exhausted(Exception):
    """Raised by `ask` when a strategy has nothing left to propose (every architecture tried)."""


@dataclass(frozen=True)
class NoSettings:
    """Settings of a strategy that has none."""


class Strategy(ABC):
    """Proposes architectures (`ask`) and learns from their measurements (`tell`).

    Deterministic: the same space, seed, settings and sequence of calls give the same proposals.
    `ask` may be called several times before a `tell` (several workers); `tell` takes any order,
    and architectures that were not asked for. Failed measurements are told too.
    """

    Settings: ClassVar[type[Any]] = NoSettings
    """A frozen dataclass, one documented field a setting; the command line comes from it."""
    name: ClassVar[str]
    """What it is registered as; the class's name where it is not."""
    max_objectives: ClassVar[int] = 1
    inherits: bool = False
    """Whether what is trained for this strategy begins with the weights of its parent."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.name = cls.__name__

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
    ) -> None:
        if len(objectives) > self.max_objectives:
            raise InputError(
                f"strategy {self.name!r} is given {len(objectives)} objectives; accepted: "
                f"{self.max_objectives}, or a strategy for several such as nsga2"
            )
        self.space = space
        self.seed = seed
        self.objectives = tuple(objectives)
        self.settings = settings if settings is not None else self.Settings()
        self.stream = Stream(seed)  # its `position` belongs into the state
        self._begin()

    def _begin(self) -> None:  # noqa: B027 - a strategy may keep nothing
        """Set up what this strategy keeps, and refuse spaces that it cannot search."""

    def meet(self, task: Task) -> None:  # noqa: B027 - most strategies see rewards alone
        """Get to know the task, before the first `ask`; raises `InputError` if it does not fit."""

    @cached_property
    def rng(self) -> np.random.Generator:
        """A numpy generator under the seed, for strategies that compute with arrays."""
        return np.random.default_rng(self.seed)

    @property
    def objective(self) -> Objective:
        """The first (for most strategies the only) objective."""
        return self.objectives[0]

    @property
    def full_budget(self) -> int | None:
        """Epochs of a full training for a strategy that asks with budgets; None: it does not."""
        return None

    def budget(self, arch: Architecture) -> int | None:
        """Return the epochs that the last `ask` of `arch` is for; None: the study's own."""
        return None

    @abstractmethod
    def ask(self) -> Architecture:
        """Return the next architecture to measure; raises `Exhausted` if there is none."""

    @abstractmethod
    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        """Take in the measurement of `arch`."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything that the next `ask` depends on, as JSON-able plain data."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly from a `state()` of a strategy with equal space, seed and settings."""


def require_categorical(space: Space, what: str) -> None:
    """Raise `InputError` for a space with number ranges, or without choices."""
    if space.ranges or not space.choices:
        raise InputError(
            f"space {space.name!r} has number ranges, or no choices; {what} "
            "accepts: spaces of categorical choices"
        )


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state as JSON-able data."""
    return dict(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Put a generator into a state from `generator_state`."""
    rng.bit_generator.state = state
