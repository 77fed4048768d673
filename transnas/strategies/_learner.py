"""An LSTM policy with its optimiser: what of a controller needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from transnas.spaces import Space
from transnas.strategies._lstm_policy import Codes, LSTMPolicy, chosen_log_policy
from transnas.strategies._surrogate_objective import ppo_loss

if TYPE_CHECKING:
    from transnas.strategies._controller import ControllerSettings

__all__ = ["Learner"]

Logs = npt.NDArray[np.float32]


class Learner:
    """The policy of one controller, and Adam."""

    def __init__(self, space: Space, settings: ControllerSettings, seed: int) -> None:
        self.settings = settings
        self.policy = LSTMPolicy(
            space,
            hidden=settings.hidden,
            layers=settings.layers,
            reach=settings.reach,
            seed=seed,
        )
        self._parameters = dict(self.policy.named_parameters())
        self._optimiser = torch.optim.Adam(self._parameters.values(), lr=settings.learning_rate)

    @torch.no_grad()
    def sample(self, draws: npt.NDArray[np.float64]) -> tuple[Codes, Logs]:
        """Return codes and log pi(a_t | ..) [B, T] for uniform `draws` [B, T] in [0, 1)."""
        codes, log_pi = self.policy.sample(draws)
        return codes, chosen_log_policy(log_pi, codes).numpy()

    @torch.no_grad()
    def log_policy(self, codes: Codes) -> Logs:
        """Return log pi(a_t | ..) of `codes` [B, T] under the present policy, [B, T]."""
        return chosen_log_policy(self.policy(codes), codes).numpy()

    def learn(
        self, codes: Codes, old: Logs, advantage: npt.NDArray[np.float64], bonus: float
    ) -> None:
        """Take `passes` steps on results: `codes` [B, T], their `old` log pi [B, T], A [B].

        `bonus` is the weight of the entropy.
        """
        chosen = torch.as_tensor(codes).unsqueeze(-1)
        gain = torch.as_tensor(advantage, dtype=torch.float32).unsqueeze(0)
        before = torch.as_tensor(np.array(old)).unsqueeze(0)
        present = torch.ones_like(gain, dtype=torch.bool)
        for _ in range(self.settings.passes):
            log_pi = self.policy(codes)
            actions = torch.zeros_like(log_pi).scatter_(-1, chosen, 1.0)
            loss = ppo_loss(
                log_pi.unsqueeze(0),
                actions.unsqueeze(0),
                before,
                gain,
                present,
                self.settings.clip,
                bonus,
            ).sum()
            self._optimiser.zero_grad()
            torch.autograd.backward(loss)
            self._optimiser.step()

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return all weights and Adam's moments by name."""
        found = {}
        for name, parameter in self._parameters.items():
            found[name] = parameter.detach().numpy().copy()
            for key, value in self._optimiser.state.get(parameter, {}).items():
                found[f"{name} {key}"] = value.numpy().copy()
        return found

    @torch.no_grad()
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from a `state()`."""
        self._optimiser.state.clear()
        for name, parameter in self._parameters.items():
            parameter.copy_(torch.as_tensor(np.array(arrays[name])))
            moments = {
                key.partition(" ")[2]: torch.as_tensor(np.array(array))
                for key, array in arrays.items()
                if key.startswith(f"{name} ")
            }
            if moments:
                self._optimiser.state[parameter] = moments
