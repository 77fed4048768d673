"""The acquisition of the whole model: averaged over hyperparameters and over what is pending."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from transnas.strategies.bayesian.acquisitions import ACQUISITIONS, integrated
from transnas.strategies.bayesian.model import Posterior

__all__ = ["Worth", "with_pending"]


def with_pending(
    posteriors: Sequence[Posterior], pending: Tensor, fantasies: int, generator: torch.Generator
) -> list[Posterior]:
    """Return the posteriors that also know `fantasies` joint draws of the results at `pending`.

    Joint, because results at neighbours go together. Source: Snoek, Larochelle & Adams, 2012,
    section 3.3.
    """
    if not len(pending):
        return list(posteriors)
    return [p.given(pending, p.sample(pending, fantasies, generator)) for p in posteriors]


class Worth:
    """What a measurement at a row is worth under S posteriors with J sets of fantasies each.

    With `cost`, a posterior of the logarithm of seconds, it is worth a second: the acquisition
    divided by exp(E[log seconds]).
    """

    def __init__(
        self,
        posteriors: Sequence[Posterior],
        acquisition: str,
        trade_off: float,
        cost: Posterior | None = None,
    ) -> None:
        self._posteriors = list(posteriors)
        # Each fantasy has an incumbent of its own: [J, 1].
        self._incumbents = [p.incumbents()[:, None] for p in posteriors]
        self._acquisition = acquisition
        self._trade_off = trade_off
        self._cost = cost

    def __call__(self, rows: Tensor) -> Tensor:
        """Return the worth of `rows` [N, width], [N]."""
        function = ACQUISITIONS[self._acquisition]
        values = []
        for posterior, incumbent in zip(self._posteriors, self._incumbents, strict=True):
            mean, deviation = posterior.predict(rows)
            values.append(function(mean, deviation.expand_as(mean), incumbent, self._trade_off))
        worth = integrated(torch.cat(values), self._acquisition)
        if self._cost is None:
            return worth
        log_seconds = self._cost.predict(rows)[0][0]
        return worth - log_seconds if self._acquisition == "log-ei" else worth / log_seconds.exp()
