"""Few-shot learning and search: many small tasks, one initialisation, a few gradient steps each.

MAML, ANIL, Reptile and MAML++ meta-learn the weights of a fixed network; Auto-MAML adds one
architecture for all tasks, T-NAS (Lian et al., ICLR 2020) one for each. A method is a subclass of
`Learner` under `methods.register`.
"""

from transnas.meta.few_shot import methods
from transnas.meta.few_shot._execution import Execution
from transnas.meta.few_shot._learner import Learner, MetaGradient
from transnas.meta.few_shot.decode import decode, diversity
from transnas.meta.few_shot.evaluation import Evaluation, evaluate
from transnas.meta.few_shot.settings import MAMLPlusSettings, SearchSettings, Settings
from transnas.meta.few_shot.state import State
from transnas.meta.few_shot.training import Diverged, Plan, Trained, meta_train

__all__ = [
    "Diverged",
    "Evaluation",
    "Execution",
    "Learner",
    "MAMLPlusSettings",
    "MetaGradient",
    "Plan",
    "SearchSettings",
    "Settings",
    "State",
    "Trained",
    "decode",
    "diversity",
    "evaluate",
    "meta_train",
    "methods",
]
