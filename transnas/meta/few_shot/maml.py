"""MAML: Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation", ICML 2017.

inner  w_i^{m+1} = w_i^m - a grad L(w_i^m; support_i),  w_i^0 = w
outer  w <- Adam(w, grad_w mean_i L(w_i^M; query_i))

`order=2` differentiates through the inner steps; `order=1` is FOMAML, which takes the query
gradient at w_i^M. Each step adapts every parameter, normalisation included. Deviation: the mean
over tasks in place of the sum, which rescales the outer rate only.
"""

from __future__ import annotations

from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.methods import register

__all__ = ["MAML"]


@register("maml")
class MAML(Learner):
    """The shared inner and outer loop, as they are."""
