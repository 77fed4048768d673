"""Gradients of CATCH's losses: against enumeration, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from transnas.meta.catch import CatchSettings
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Catcher
from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.controller import Policy, PolicyBatch, log_policy
from transnas.meta.catch.encoder import kl_to_unit
from transnas.meta.catch.mlp import initial
from transnas.spaces import Choice, Space

DOUBLE = torch.float64


class Two(Space):
    """Two decisions of three values each: nine networks."""

    name = "two"
    choices = (Choice("a", ("0", "1", "2")), Choice("b", ("0", "1", "2")))


CODING = Coding(Two(), DOUBLE)
NETWORKS: Codes = np.array([[[a, b] for a in range(3) for b in range(3)]])
REWARD = torch.tensor([0.3, -1.2, 0.8, 1.5, -0.4, 0.1, -0.9, 0.6, 2.0], dtype=DOUBLE)


def policy() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return a controller and log pi of every network, [9]."""
    parameters = initial("controller", (8, 8, 8, 6), [torch.Generator().manual_seed(0)], DOUBLE)
    parameters = {name: (2 * value).requires_grad_() for name, value in parameters.items()}
    return parameters, (batch_log_policy(parameters) * batch().actions).sum(dim=(-1, -2))[0]


def batch() -> PolicyBatch:
    """Return every network once; nothing is masked, and no policy was before."""
    onehot = CODING.onehot(NETWORKS).unsqueeze(-2)
    return PolicyBatch(
        states=onehot * CODING.before.to(DOUBLE),
        actions=onehot * CODING.slices.to(DOUBLE),
        allowed=CODING.slices.expand(1, 9, 2, 6),
        old=torch.zeros(1, 9, 2, dtype=DOUBLE),
        advantage=REWARD.unsqueeze(0),
        present=torch.ones(1, 9, dtype=torch.bool),
    )


def batch_log_policy(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return log pi of every value of every decision, 0 where there is none, [1, 9, 2, 6]."""
    every = batch()
    z = torch.tensor([[0.7, -1.1]], dtype=DOUBLE)
    found = log_policy(parameters, z, every.states, every.allowed)
    return found.masked_fill(~every.allowed, 0.0)


def gradients() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return PPO's gradient of each network alone [9, P], the exact one [P], and pi [9]."""
    parameters, log_pi = policy()
    tensors = list(parameters.values())
    each = []
    for m in range(9):
        every, found = batch(), batch_log_policy(parameters)
        step = (found.detach() * every.actions).sum(dim=-1)
        only = torch.zeros(1, 9, dtype=torch.bool)
        only[0, m] = True
        one = PolicyBatch(every.states, every.actions, every.allowed, step, every.advantage, only)
        each.append(flat(torch.autograd.grad(one.loss(found, 0.2, 0.0).sum(), tensors)))
    # PPO averages over the two decisions of a network.
    expected = -(log_pi.exp() * REWARD).sum() / 2
    return torch.stack(each), flat(torch.autograd.grad(expected, tensors)), log_pi.detach().exp()


def flat(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([p.flatten() for p in parts])


def chosen_of(candidates: int, draws: int) -> torch.Tensor:
    """Return how often each network is the evaluator's best of so many draws, [9], summing to 1.

    The evaluator here ranks networks by their number.
    """
    parameters, _ = policy()
    uniform = np.random.default_rng(candidates).random((1, draws * candidates, 2))
    z = torch.tensor([[0.7, -1.1]], dtype=DOUBLE)
    codes = Policy(parameters, z, CODING, draws).sample(np.array([0]), uniform).codes[0]
    best = (3 * codes[:, 0] + codes[:, 1]).reshape(draws, candidates).max(axis=1)
    return torch.as_tensor(np.bincount(best, minlength=9) / draws)


@pytest.mark.parametrize(("candidates", "unbiased"), [(1, True), (8, False)])
def test_ppo_is_unbiased_for_one_candidate_and_only_then(candidates: int, unbiased: bool) -> None:
    """The network that is trained is a draw of the policy only where nothing chooses among M."""
    draws = 40_000
    each, exact, _ = gradients()
    share = chosen_of(candidates, draws)
    mean = share @ each
    error = ((share @ each.square() - mean.square()) / draws).sqrt()
    worst = ((mean - exact).abs() / error.clamp(min=1e-12)).max()
    assert (worst < 4.5) if unbiased else (worst > 30)


def losses() -> tuple[dict[str, torch.Tensor], dict[str, Callable[[], torch.Tensor]]]:
    """Return the parameters of an agent after 12 queries, and its three losses under one noise."""
    settings = CatchSettings(hidden=8, z_size=3, candidates=6, updates=2, policy_updates=1)
    catcher = Catcher([0], CODING.features, settings, DOUBLE)
    agent = Agent(catcher, CODING, [0], 0.2)
    run_task(agent, lambda c: REWARD.numpy()[3 * c[:, 0] + c[:, 1]], 8)
    rewards = agent._normalised()
    pairs, policy_batch = agent._pairs(rewards), agent._policy_batch(rewards)
    noise, gumbel = torch.full((1, 3), 0.4, dtype=DOUBLE), agent.draws.gumbel((8,), 1)
    priorities = agent.history.priority.clone()

    def of_evaluator() -> torch.Tensor:
        agent.history.priority.copy_(priorities)
        z, _, _ = agent._context(pairs, noise)
        return agent._evaluator_loss(z, rewards, gumbel, 8).sum()

    def of_controller() -> torch.Tensor:
        z, _, _ = agent._context(pairs, noise)
        log_pi = log_policy(catcher.parameters, z, policy_batch.states, policy_batch.allowed)
        return policy_batch.loss(log_pi, settings.clip, settings.entropy).sum()

    def of_kl() -> torch.Tensor:
        _, mean, variance = agent._context(pairs, noise)
        return kl_to_unit(mean, variance).sum()

    return catcher.parameters, {"evaluator": of_evaluator, "controller": of_controller, "": of_kl}


def test_each_loss_reaches_the_encoder_with_the_gradient_of_finite_differences() -> None:
    parameters, each = losses()
    for own, loss in each.items():
        names = list(parameters)
        found = torch.autograd.grad(loss(), list(parameters.values()), allow_unused=True)
        gradient = dict(zip(names, found, strict=True))
        reached = {n.split(".")[0] for n, g in gradient.items() if g is not None}
        assert reached == {"encoder"} | ({own} if own else set())
        for name in (n for n in names if n.startswith("encoder")):
            values, slope = parameters[name].detach().view(-1), gradient[name]
            assert slope is not None
            place = int(slope.abs().argmax())
            assert slope.flatten()[place] != 0
            sides = []
            for step in (1e-6, -1e-6):
                values[place] += step
                sides.append(loss().item())
                values[place] -= step
            by_differences = (sides[0] - sides[1]) / 2e-6
            assert by_differences == pytest.approx(
                slope.flatten()[place].item(), rel=1e-4, abs=1e-8
            )
