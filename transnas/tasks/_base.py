"""What a search is for: data in three splits, a signature, a metric, one recorded final test."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from transnas._errors import InputError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

__all__ = ["KINDS", "DataTask", "FinalTest", "Signature", "TableTask", "Task", "own_data"]

KINDS = ("classification", "detection", "segmentation", "language")
IGNORED = 255
"""Class of pixels that count neither in the loss nor in the metric."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The shape of a network's input (channels, height, width), its number of outputs, its kind.

    `outputs` are classes; `kind` is one of `KINDS` and says what is told of them: one of an image
    (classification), one of each pixel (segmentation), boxes with one each (detection), or the
    next one after each token of a row, whose length is the input's shape (language).
    """

    input_shape: tuple[int, ...]
    outputs: int
    kind: str = "classification"


@dataclass(frozen=True, slots=True)
class FinalTest:
    """One recorded look at the test split: what was measured, of what, and when (UTC)."""

    subject: str
    metrics: Mapping[str, float]
    at: str


@dataclass
class Task(ABC):
    """A named task: what its networks take and give, and how good is measured."""

    name: str
    signature: Signature
    metric: str = "validation_accuracy"
    """The metric that a search maximises unless it is told otherwise."""

    @property
    def kind(self) -> str:
        """What its outputs mean, one of `KINDS`."""
        return self.signature.kind


@dataclass
class TableTask(Task):
    """A task whose measurements are looked up in a benchmark table (see `evaluation.Table`).

    `table` and `column` name the table and its data set; `space` is the only space it covers.
    """

    space: str = ""
    table: str = ""
    column: str = ""


@dataclass
class DataTask(Task):
    """A task with data: datasets of (input tensor float32 [C, H, W], label int) pairs.

    `train` and `validation` are open to every search; the test split is reached only through
    `final_test`, which records each look.
    """

    train: Dataset[Any] = field(default_factory=lambda: _missing("train"))
    validation: Dataset[Any] = field(default_factory=lambda: _missing("validation"))
    classes: tuple[str, ...] = ()
    augmentation: str = "none"
    """Which augmentation suits the data: `none`, `shift` (digits, letters), `natural` (flips)."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What turns a file's pixels into inputs (size, scale, mean, std); {}: nothing."""
    final_tests: list[FinalTest] = field(default_factory=list)
    digest: str = ""
    """Of the data, where they are the user's own files: another file may have the same name."""
    _test: Dataset[Any] | None = None

    @classmethod
    def from_datasets(
        cls,
        name: str,
        train: Dataset[Any],
        validation: Dataset[Any] | None = None,
        test: Dataset[Any] | None = None,
        *,
        classes: tuple[str, ...] = (),
        augmentation: str = "none",
        in_memory: bool = True,
        seed: int = 0,
    ) -> DataTask:
        """Return a task on your own torch data sets of (float image [C, H, W], label) pairs.

        The signature is read off the data. Without `validation`, a stratified fifth of `train`
        (drawn by `seed`) is taken. `in_memory` reads every pair once, checks it, and keeps it as
        one tensor, which trains several times faster; False keeps the data sets as they are (for
        data larger than memory, or with random transforms of their own): only the first pairs are
        checked, and `validation` and `classes` are then required. Inputs are used as given: scale
        them to about zero mean and unit variance. Raises `InputError` for data that cannot be
        trained on.
        """
        from transnas.tasks._datasets import task_from_datasets

        return task_from_datasets(
            name, train, validation, test, tuple(classes), augmentation, in_memory, seed
        )

    @property
    def has_test(self) -> bool:
        """Whether `final_test` can be done."""
        return self._test is not None

    def joined(self) -> Dataset[Any]:
        """Return training and validation data as one data set, for the last, longer training."""
        from transnas.tasks._tensors import concatenate

        return concatenate(self.train, self.validation)

    def final_test(
        self, subject: str, measure: Callable[[Dataset[Any]], Mapping[str, float]]
    ) -> FinalTest:
        """Apply `measure` to the test split and record it; `subject` says what was measured.

        Raises `InputError` if the task has no test split.
        """
        if self._test is None:
            raise InputError(f"task {self.name!r} has no test split; accepted: a task with one")
        result = FinalTest(subject, measure(self._test), datetime.now(timezone.utc).isoformat())
        self.final_tests.append(result)
        return result


def own_data(tasks: Sequence[DataTask]) -> dict[str, list[str]]:
    """Return what a record of `tasks` says beside their names, which own files share with others.

    {"data": the digest of each}; {} where all are built in.
    """
    digests = [task.digest for task in tasks]
    return {"data": digests} if any(digests) else {}


def _missing(split: str) -> Dataset[Any]:
    raise InputError(f"task needs a {split} split; accepted: a torch Dataset")
