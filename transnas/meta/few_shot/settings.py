"""Settings of the few-shot methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transnas.strategies.settings import check_range, check_types

__all__ = ["FamilySettings", "MAMLPlusSettings", "SearchSettings", "Settings", "TNASSettings"]


@dataclass(frozen=True)
class FamilySettings:
    """What `transnas learn` needs to know beside a method's own settings."""

    way: int = 5
    """Classes of a task."""
    shot: int = 1
    """Support images a class."""
    query: int = 15
    """Query images a class in meta-training."""
    tasks: int = 4
    """Tasks in a meta-step."""
    meta_steps: int = 1000
    """Meta-steps; of a search, those of the supernet."""
    width: int = 16
    """Filters of the four-convolution network, or channels of the searched cells."""
    architectures: int = 2
    """Architectures that a search meta-trains for new tasks to choose from; 0: the adapted
    supernet itself predicts."""
    architecture_steps: int = 500
    """Meta-steps of each of them."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        check_range(self, "architectures", least=0)
        check_range(self, "architecture_steps", "meta_steps", "tasks", "width", least=1)


@dataclass(frozen=True)
class Settings:
    """What all methods have; the defaults are those of MAML and T-NAS on mini-ImageNet."""

    steps: int = 5
    """Inner steps in meta-training."""
    test_steps: int = 10
    """Inner steps on a new task."""
    inner_rate: float = 0.01
    """Inner learning rate of the weights."""
    outer_rate: float = 1e-3
    """Outer learning rate (Adam) of the weights."""
    order: int = 1
    """1: inner gradients count as constants; 2: meta-gradients flow through them."""
    annealed_to: float | None = None
    """The outer rate falls to this by a cosine over `epochs`; None: it is constant."""
    epochs: int = 100
    """Epochs of a meta-training, equal parts of its meta-steps, which schedules count; the outer
    rate falls over all of them."""
    clip: float = 0.0
    """Meta-gradients are clipped, element by element, to this size; 0: not at all."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        check_range(self, "steps", "test_steps", least=0)
        check_range(self, "epochs", least=1)
        check_range(self, "inner_rate", "outer_rate", "annealed_to", "clip", least=0)
        check_range(self, "order", least=1, most=2)


@dataclass(frozen=True)
class MAMLPlusSettings(Settings):
    """The parts of MAML++, each a switch (Antoniou et al., ICLR 2019); see `maml_plus`."""

    test_steps: int = 5
    order: int = 2
    annealed_to: float | None = 1e-5
    multi_step_epochs: int = 15
    """Epochs over which the loss of every inner step counts, ever less; 0: only the last."""
    learnt_rates: bool = True
    """One meta-learnt inner rate for each parameter tensor and step."""
    first_order_epochs: int = 0
    """Epochs at the start in which meta-gradients are of first order."""
    step_norms: bool = True
    """Scale and shift of normalisations of their own for each inner step, not adapted."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        check_range(self, "steps", least=1)
        check_range(self, "multi_step_epochs", "first_order_epochs", least=0)


@dataclass(frozen=True)
class SearchSettings(Settings):
    """Methods with architecture parameters; the defaults are those of T-NAS's search script."""

    outer_logits_rate: float = 1e-3
    """Outer learning rate (Adam) of the architecture parameters."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        check_range(self, "outer_logits_rate", least=0)


@dataclass(frozen=True)
class TNASSettings(SearchSettings):
    """Methods whose tasks adapt the architecture parameters."""

    logits_rate: float = 30.0
    """Inner learning rate of the architecture parameters; small ones leave them where they are."""
    inner: Literal["joint", "alternating"] = "joint"
    """A step changes weights and logits at once, or first the weights and then the logits."""

    def __post_init__(self) -> None:
        SearchSettings.__post_init__(self)
        check_range(self, "logits_rate", least=0)
