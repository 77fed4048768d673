"""Learning from earlier studies on the same space."""

from transnas.meta.store._prior import StorePrior, learn
from transnas.meta.store._replicates import replicate_searches, replicate_transfer
from transnas.meta.store._search import Search, source_values
from transnas.meta.store._sources import SmoothedSource, SourceTask
from transnas.meta.store.strategy import StoreTransfer

__all__ = [
    "Search",
    "SmoothedSource",
    "SourceTask",
    "StorePrior",
    "StoreTransfer",
    "learn",
    "replicate_searches",
    "replicate_transfer",
    "source_values",
]
