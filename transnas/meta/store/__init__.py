"""Learning from earlier studies on the same space."""

from transnas.meta.store._prior import StorePrior, learn
from transnas.meta.store._replicates import replicate_transfer
from transnas.meta.store._sources import SmoothedSource, SourceTask
from transnas.meta.store.strategy import StoreTransfer

__all__ = [
    "SmoothedSource",
    "SourceTask",
    "StorePrior",
    "StoreTransfer",
    "learn",
    "replicate_transfer",
]
