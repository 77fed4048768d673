"""Studies: the loop, its storage (Optuna), executors, and what earlier studies teach."""

from transnas.studies._loop import SearchError
from transnas.studies._search import search
from transnas.studies._storage import StorageError
from transnas.studies._study import Study, list_studies, load_study
from transnas.studies._trial import Trial

__all__ = [
    "SearchError",
    "StorageError",
    "Study",
    "Trial",
    "list_studies",
    "load_study",
    "search",
]
