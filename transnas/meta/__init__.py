"""Learning from earlier tasks: what was learnt is a `Prior`, and gives a strategy for the next.

`store` learns from the studies in a user's storage; `catch` meta-trains an agent on a family of
tasks (CATCH, ECCV 2020); `few_shot` meta-trains networks on episodes (MAML to T-NAS). A new kind of
prior is a subclass of `Prior` under `register`.
"""

from transnas.meta._prior import (
    AdaptedNetwork,
    Prior,
    PriorInfo,
    load_prior,
    prior_info,
    register,
    saved_kind,
)

__all__ = [
    "AdaptedNetwork",
    "Prior",
    "PriorInfo",
    "load_prior",
    "prior_info",
    "register",
    "saved_kind",
]
