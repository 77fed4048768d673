"""A meta-trained agent on disk, and as a strategy for the next task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.meta._prior import Prior, read_prior, register, write_prior
from transnas.meta.catch._choices import Choices, choices_of, read_choices, require_choices
from transnas.meta.catch.settings import CatchSettings
from transnas.spaces import Space

if TYPE_CHECKING:
    from transnas.meta.catch.catcher import Arrays
    from transnas.meta.catch.strategy import CatchStrategy

__all__ = ["CatchPrior"]

_KIND, _FORMAT = "catch", 1
_SHAPE = ("z_size", "hidden")
"""Settings that a prior fixes: the sizes of its networks."""


@register(_KIND)
@dataclass(frozen=True)
class CatchPrior(Prior):
    """Parameters of one agent [1, ...], the space they are for, and what they were learnt from.

    A space that has other `choices` since is refused.
    """

    strategy_name = "catch"

    space: str
    choices: Choices
    settings: CatchSettings
    arrays: Arrays
    learnt_from: dict[str, Any]

    @classmethod
    def of(
        cls, space: Space, settings: CatchSettings, arrays: Arrays, learnt_from: dict[str, Any]
    ) -> CatchPrior:
        """Return the prior of `space`."""
        return cls(space.name, choices_of(space), settings, arrays, learnt_from)

    @classmethod
    def load(cls, folder: Path, space: Space) -> CatchPrior:
        """Read a prior of `space`; raises `InputError` if `folder` holds none."""
        data, arrays = read_prior(folder, _KIND, _FORMAT, space)
        try:
            choices = read_choices(data["choices"])
            settings = CatchSettings(**data["settings"])
            return cls(space.name, choices, settings, arrays, dict(data["learnt_from"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"prior {str(folder)!r} is not readable ({error}); accepted: one that this "
                "version wrote"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the prior into `folder`, which is created."""
        data = {
            "space": self.space,
            "choices": self.choices,
            "settings": asdict(self.settings),
            "learnt_from": self.learnt_from,
        }
        write_prior(folder, _KIND, _FORMAT, data, self.arrays)

    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> CatchStrategy:
        """Return a strategy that adapts a copy; raises `InputError` if `space` is another."""
        from transnas.meta.catch.strategy import CatchStrategy

        return CatchStrategy(space, seed, objectives, self.settings, prior=self)

    def learnt_settings(self) -> Mapping[str, Any]:
        """Return the settings of meta-training."""
        return asdict(self.settings)

    def check(self, space: Space, settings: CatchSettings) -> None:
        """Raise `InputError` unless it is for `space` as it is now, and networks of these sizes."""
        require_choices(self.choices, self.space, space)
        for name in _SHAPE:
            given, learnt = getattr(settings, name), getattr(self.settings, name)
            if given != learnt:
                raise InputError(
                    f"setting {name!r} is {given!r}, but the prior's networks have {learnt!r}; "
                    f"accepted with this prior: {learnt!r}"
                )
