"""Studies: the loop, its storage (Optuna), executors, and what earlier studies teach."""

from transnas.studies._compare import compare
from transnas.studies._comparison import Comparison
from transnas.studies._diagnose import Diagnosis, diagnose
from transnas.studies._errors import SearchError, StorageError
from transnas.studies._interleave import interleave
from transnas.studies._learn import adapt, adapt_at_once, learn
from transnas.studies._search import search
from transnas.studies._study import Study, list_studies, load_study
from transnas.studies._trial import Trial
from transnas.studies.report import write_report
from transnas.studies.sources import SourceStudy, sources

__all__ = [
    "Comparison",
    "Diagnosis",
    "SearchError",
    "SourceStudy",
    "StorageError",
    "Study",
    "Trial",
    "adapt",
    "adapt_at_once",
    "compare",
    "diagnose",
    "interleave",
    "learn",
    "list_studies",
    "load_study",
    "search",
    "sources",
    "write_report",
]
