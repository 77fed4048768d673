"""Studies: the loop, its storage (Optuna), executors, and what earlier studies teach."""

from transnas.studies._errors import SearchError, StorageError
from transnas.studies._search import search
from transnas.studies._study import Study, list_studies, load_study
from transnas.studies._trial import Trial
from transnas.studies.sources import SourceStudy, sources

__all__ = [
    "SearchError",
    "SourceStudy",
    "StorageError",
    "Study",
    "Trial",
    "list_studies",
    "load_study",
    "search",
    "sources",
]
