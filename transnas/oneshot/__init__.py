"""One-shot search: strategies that train one supernet and derive an architecture from it."""

from transnas.oneshot._bilevel import Settings, train
from transnas.oneshot.darts import search_darts
from transnas.oneshot.gdas import search_gdas

__all__ = ["Settings", "search_darts", "search_gdas", "train"]
