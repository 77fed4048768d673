"""Every number of CATCH, with where it comes from.

*published*: stated in the paper's text. *remembered*: of the full paper, not in the text at hand.
*ours*: the paper does not say; chosen on tasks that are not reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transnas.strategies.settings import check_range, check_types

__all__ = ["CatchSettings"]


@dataclass(frozen=True)
class CatchSettings:
    """Settings of CATCH (context-based meta-RL for transferable architecture search)."""

    prior: str = ""
    """Folder of a prior from `meta_train`; empty: search from scratch (CATCH-sfs)."""
    context: Literal["posterior", "zero", "random"] = "posterior"
    """z from the encoder, z = 0 (CATCH-zero), or z from N(0, I) (CATCH-random). Published."""
    z_size: int = 10
    """Dimensions of the context z. Published."""
    kl_weight: float = 0.1
    """Weight of KL(q(z|c) || N(0, I)) in the loss; off without a posterior. Published."""
    hidden: int = 64
    """Width of the two hidden layers of encoder, controller and evaluator. Ours."""
    normalise: Literal["winsor", "z", "rank"] = "winsor"
    """Rewards within a task: z-score with a floor, plain z-score, or normal scores. Ours."""
    initial: int = 5
    """Random networks at the start of a task; they count as queries. Ours ("a few")."""
    candidates: int = 200
    """Networks drawn from the policy for each query; 1: no evaluator. Ours."""
    epsilon: float = 0.5
    """First chance of a uniform candidate instead of the evaluator's best. Ours."""
    epsilon_adapted: float = 0.1
    """The same at the start of adaptation, after meta-training. Ours."""
    epsilon_decay: float = 0.9
    """Factor on epsilon for each query. Ours."""
    epsilon_least: float = 0.05
    """Floor of epsilon. Ours."""
    masking: bool = True
    """Whether the policy's softmax leaves invalid choices out; otherwise they are drawn and
    thrown away. Published: yes."""
    isomorphs: Literal["apart", "together"] = "apart"
    """Whether networks that compute the same count as different, or as one that is asked for
    once. Ours."""
    replay: Literal["prioritised", "uniform"] = "prioritised"
    """How evaluated networks are drawn for the evaluator's loss. Published: prioritised."""
    replay_share: float = 0.8
    """Share of the evaluated networks in a batch. Published."""
    replay_alpha: float = 0.6
    """Exponent of the priorities. Of prioritised replay (Schaul et al., 2016)."""
    replay_beta: float = 0.4
    """First exponent of the importance weights, rising to 1 over `horizon`. Of the same."""
    horizon: int = 50
    """Queries over which `replay_beta` rises. Ours."""
    huber: float = 1.0
    """Where the evaluator's Huber loss turns linear, in units of normalised reward. Ours."""
    window: int = 10
    """Latest networks drawn from the policy that PPO learns from. Ours."""
    clip: float = 0.2
    """PPO's clipping range of the probability ratio. Ours (PPO: Schulman et al., 2017)."""
    entropy: float = 0.1
    """Weight of the policy's entropy; 0.01 collapses the policy within 20 queries. Ours."""
    updates: int = 5
    """Gradient steps for each query; 0: frozen. Ours."""
    policy_updates: int = 2
    """How many of them include the policy's loss. Ours."""
    learning_rate: float = 1e-3
    """Step of Adam (betas 0.9 and 0.999), for all three networks. Ours."""
    gradient_norm: float = 1.0
    """Gradients longer than this are shortened to it. Ours."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        check_range(self, "z_size", "hidden", "candidates", "horizon", "window", least=1)
        check_range(self, "initial", "updates", "policy_updates", least=0)
        check_range(self, "epsilon", "epsilon_adapted", "epsilon_decay", least=0, most=1)
        check_range(self, "epsilon_least", "replay_beta", least=0, most=1)
        check_range(self, "replay_share", above=0, most=1)
        check_range(self, "huber", "clip", "learning_rate", "gradient_norm", above=0)
        check_range(self, "kl_weight", "entropy", "replay_alpha", least=0)
