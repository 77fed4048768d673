"""Networks for few-shot learning: functions of explicit parameters, for many tasks at once."""

from transnas.networks.few_shot._functional import (
    BatchStatistics,
    FusedStatistics,
    Norm,
    Params,
    SupportStatistics,
)
from transnas.networks.few_shot._network import HEAD, LOGITS, FewShotNetwork, Layout, run
from transnas.networks.few_shot.decoded import DecodedNetwork
from transnas.networks.few_shot.four_conv import FourConv
from transnas.networks.few_shot.supernet import FewShotSupernet

__all__ = [
    "HEAD",
    "LOGITS",
    "BatchStatistics",
    "DecodedNetwork",
    "FewShotNetwork",
    "FewShotSupernet",
    "FusedStatistics",
    "FourConv",
    "Layout",
    "Norm",
    "Params",
    "SupportStatistics",
    "run",
]
