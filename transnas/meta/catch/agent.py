"""One task run of CATCH: propose a network, observe its reward, learn. R replicates at once.

The loop of the paper's Algorithm 1 (reconstructed; its listing is not in the text at hand):
random networks first; then, for each query, z ~ q(z|history), candidates from the policy given
z, one of them by the evaluator given z, its reward into the history, and gradient steps on
controller, evaluator and encoder together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transnas.meta.catch._draws import Draws
from transnas.meta.catch.candidates import Candidates, draw_candidates, random_network
from transnas.meta.catch.catcher import Arrays, Catcher
from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.controller import PolicyBatch, log_policy
from transnas.meta.catch.encoder import kl_to_unit, posterior
from transnas.meta.catch.evaluator import choose, huber_loss, predict
from transnas.meta.catch.history import History
from transnas.meta.catch.normalise import normalise
from transnas.meta.catch.replay import importance, priority, probabilities, without_replacement

__all__ = ["Agent", "Proposal", "run_task"]

# What a random number is for; the first part of its address.
INITIAL, CONTEXT, CANDIDATES, CHOICE, UPDATE, REPLAY = range(6)


@dataclass(frozen=True)
class Proposal:
    """One network a replicate: codes [R, T], log pi of its decisions [R, T], whether it was a
    draw from the policy [R], and whether there was any left to propose [R]."""

    codes: Codes
    log_policy: torch.Tensor
    sampled: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]


class Agent:
    """R replicates on their tasks. `catcher` is learnt in place.

    `seeds` [R] and the number `task` (counted over a replicate's life) fix every random draw;
    `epsilon` is the chance of a uniform candidate at the first query after the random ones.
    """

    def __init__(
        self, catcher: Catcher, coding: Coding, seeds: Sequence[int], epsilon: float, task: int = 0
    ) -> None:
        self.catcher = catcher
        self.coding = coding
        self.settings = catcher.settings
        self.draws = Draws(seeds, coding.dtype)
        self.epsilon = epsilon
        self.task = task
        self.history = History(coding, len(seeds))
        self.taken: list[set[tuple[int, ...]]] = [set() for _ in seeds]
        self.asked = 0
        self.told = 0

    def propose(self) -> Proposal:
        """Return the next network of each replicate, none of them asked before."""
        number = self.asked
        self.asked += 1
        proposal = self._initial(number) if number < self.settings.initial else self._search(number)
        for taken, codes, left in zip(
            self.taken, proposal.codes.tolist(), proposal.left, strict=True
        ):
            if left:
                taken.add(self.coding.class_of(tuple(codes)))
        return proposal

    def observe(self, proposal: Proposal, rewards: npt.NDArray[np.float64]) -> None:
        """Take in rewards [R], NaN for a failed trial, and learn once random search is over."""
        for taken, codes in zip(self.taken, proposal.codes.tolist(), strict=True):
            taken.add(self.coding.class_of(tuple(codes)))
        self.history.append(proposal.codes, rewards, proposal.log_policy, proposal.sampled)
        number = self.told
        self.told += 1
        if number >= self.settings.initial and len(self.history):
            self._learn(number)

    # Proposing ------------------------------------------------------------------------------

    def _initial(self, number: int) -> Proposal:
        codes = np.zeros((len(self.taken), self.coding.choices), dtype=np.int64)
        left = np.zeros(len(self.taken), dtype=np.bool_)
        for r, taken in enumerate(self.taken):
            rng = self.draws.generator(r, self.task, INITIAL, number)
            found = random_network(self.coding, taken, rng)
            if found is not None:
                codes[r], left[r] = found, True
        none = torch.zeros(codes.shape, dtype=self.coding.dtype)
        return Proposal(codes, none, np.zeros_like(left), left)

    @torch.no_grad()
    def _search(self, number: int) -> Proposal:
        noise = self.draws.normal((self.settings.z_size,), self.task, CONTEXT, number)
        z, _, _ = self._context(self._pairs(self._normalised()), noise)
        found = self._candidates(z, number)
        scores = predict(self.catcher.parameters, z, self.coding.onehot(found.codes))
        spent = number - self.settings.initial
        epsilon = max(
            self.settings.epsilon_least, self.epsilon * self.settings.epsilon_decay**spent
        )
        draws = torch.as_tensor(self.draws.uniform((2,), self.task, CHOICE, number))
        chosen = choose(scores, torch.as_tensor(found.present), epsilon, draws)
        rows = np.arange(len(chosen))
        return Proposal(
            found.codes[rows, chosen.numpy()],
            found.log_policy[rows, chosen],
            found.sampled[rows, chosen.numpy()],
            np.asarray(found.present.any(axis=1)),
        )

    def _candidates(self, z: torch.Tensor, number: int) -> Candidates:
        return draw_candidates(
            self.catcher.parameters,
            z,
            self.coding,
            self.settings.candidates,
            self.taken,
            [self.history.best(r) for r in range(len(self.taken))],
            lambda shape, attempt: self.draws.uniform(
                shape, self.task, CANDIDATES, number, attempt
            ),
            lambda r: self.draws.generator(r, self.task, CANDIDATES, number),
        )

    def _normalised(self) -> torch.Tensor:
        """Return the history's rewards on the task's own scale, [R, N]."""
        history = self.history
        rewards = history.rewards[:, : len(history)]
        scaled = normalise(rewards, history.present, self.settings.normalise)
        return scaled.to(self.coding.dtype)

    def _pairs(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return the history as the encoder sees it, [R, N, D + 1]."""
        history = self.history
        return torch.cat([history.onehot[:, : len(history)], rewards.unsqueeze(-1)], dim=-1)

    def _context(
        self, pairs: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return z with mean and variance of what it was drawn from, all [R, d] like `noise`.

        Without a posterior the two are those of N(0, I), whose KL is 0.
        """
        mean, variance = torch.zeros_like(noise), torch.ones_like(noise)
        if self.settings.context == "zero":
            return mean, mean, variance
        if self.settings.context == "random":
            return noise, mean, variance
        mean, variance = posterior(self.catcher.parameters, pairs, self.history.present)
        return mean + variance.sqrt() * noise, mean, variance

    # Learning -------------------------------------------------------------------------------

    def _learn(self, number: int) -> None:
        rewards, s = self._normalised(), self.settings
        pairs, batch = self._pairs(rewards), self._policy_batch(rewards)
        noise = self.draws.normal((s.updates, s.z_size), self.task, UPDATE, number)
        # One draw a trial, failed ones too, so that it does not matter who else is in the batch.
        gumbel = self.draws.gumbel((s.updates, number + 1), self.task, REPLAY, number)
        gumbel = gumbel[..., : rewards.shape[-1]]
        for u in range(s.updates):
            z, mean, variance = self._context(pairs, noise[:, u])
            loss = self._evaluator_loss(z, rewards, gumbel[:, u], number)
            loss = loss + s.kl_weight * kl_to_unit(mean, variance)
            if u < s.policy_updates:
                log_pi = log_policy(self.catcher.parameters, z, batch.states, batch.allowed)
                loss = loss + batch.loss(log_pi, s.clip, s.entropy)
            self.catcher.step(loss)

    def _evaluator_loss(
        self, z: torch.Tensor, rewards: torch.Tensor, gumbel: torch.Tensor, number: int
    ) -> torch.Tensor:
        """Return the Huber loss on a replay batch, [R]; the batch gets new priorities."""
        s, history = self.settings, self.history
        size, present = len(history), history.present
        alpha = s.replay_alpha if s.replay == "prioritised" else 0.0
        chances = probabilities(history.priority[:, :size], present, alpha)
        drawn, inclusion = without_replacement(chances, s.replay_share, gumbel)
        annealed = s.replay_beta + (1 - s.replay_beta) * min(1.0, number / s.horizon)
        weights = importance(inclusion, drawn, annealed)
        error = predict(self.catcher.parameters, z, history.onehot[:, :size]) - rewards
        fresh = torch.where(drawn, priority(error.detach()), history.priority[:, :size])
        history.priority[:, :size] = fresh
        return huber_loss(error, weights, s.huber)

    def _policy_batch(self, rewards: torch.Tensor) -> PolicyBatch:
        """Return the latest networks drawn from the policy."""
        history, coding = self.history, self.coding
        index, present = history.latest_sampled(self.settings.window)
        rows = torch.arange(len(index)).unsqueeze(-1)
        onehot, allowed = history.onehot[rows, index].unsqueeze(-2), history.allowed[rows, index]
        return PolicyBatch(
            states=onehot * coding.before.to(onehot.dtype),
            actions=onehot * coding.slices.to(onehot.dtype),
            # An absent entry allows everything, so that its -inf never meets its weight of 0.
            allowed=allowed | ~present[..., None, None],
            old=history.log_policy[rows, index],
            advantage=rewards.gather(1, index),
            present=present,
        )

    # Saving ---------------------------------------------------------------------------------

    def state(self) -> Arrays:
        """Return everything that the next proposal depends on, with what was learnt."""
        taken = [sorted(codes) for codes in self.taken]
        return {
            **{f"learnt/{name}": array for name, array in self.catcher.arrays().items()},
            **{f"history/{name}": array for name, array in self.history.state().items()},
            "taken": np.array([c for codes in taken for c in codes], dtype=np.int64),
            "taken_count": np.array([len(codes) for codes in taken]),
            "calls": np.array([self.asked, self.told]),
        }

    def restore(self, state: Arrays) -> None:
        """Continue from a `state()` of an agent with equal seeds, task and settings."""
        parts: dict[str, Arrays] = {"learnt": {}, "history": {}}
        for name, array in state.items():
            kind, _, rest = name.partition("/")
            if rest:
                parts[kind][rest] = array
        self.catcher.load(parts["learnt"])
        self.history.restore(parts["history"])
        ends = np.cumsum(state["taken_count"])
        taken = state["taken"].reshape(-1, self.coding.choices).tolist()
        starts = ends - state["taken_count"]
        self.taken = [set(map(tuple, taken[a:b])) for a, b in zip(starts, ends, strict=True)]
        self.asked, self.told = map(int, state["calls"])


def run_task(
    agent: Agent, evaluate: Callable[[Codes], npt.NDArray[np.float64]], queries: int
) -> Codes:
    """Spend `queries` on the agents' tasks; return the codes asked, [R, queries, T].

    `evaluate` takes codes [R, T] and returns rewards [R], greater is better, NaN for a failure.
    Once every network of the space is asked, codes are -1 and nothing is evaluated.
    """
    asked: Codes = np.full((len(agent.taken), queries, agent.coding.choices), -1, dtype=np.int64)
    for query in range(queries):
        proposal = agent.propose()
        if not proposal.left.all():  # replicates share the space, and come to its end together
            break
        agent.observe(proposal, evaluate(proposal.codes))
        asked[:, query] = proposal.codes
    return asked
