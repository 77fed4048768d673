"""Language modelling: the Penn Treebank under `TRANSNAS_DATA` (`text/`), and texts of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transnas._data import data_folder
from transnas._errors import InputError
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._registry import Options, Source, register
from transnas.tasks._text import WINDOW, TextSplit, encode, read_lines, vocabulary

__all__ = ["METRIC", "is_text", "load", "names", "text_task"]

METRIC = "validation_log_likelihood"
"""Mean log-probability of a token, in nats: minus the logarithm of the perplexity."""
_SPLITS = ("train", "valid", "test")
_UNKNOWN = "<unk>"
_HELD_OUT = 0.1
"""Share of a single text that is validation, and as much again test."""


def names() -> Iterable[str]:
    """Return the names of the texts whose files are present."""
    folder = data_folder() / "text"
    return ["ptb"] if all((folder / f"ptb.{s}.txt").is_file() for s in _SPLITS) else []


def load(name: str, options: Options) -> DataTask:
    """Return a provided text as a task."""
    files = {split: data_folder() / "text" / f"{name}.{split}.txt" for split in _SPLITS}
    return _task(name, {split: read_lines(file) for split, file in files.items()}, options)


def is_text(path: Path) -> bool:
    """Return whether `path` is a .txt file, or a folder with train.txt in it."""
    return (path.suffix.lower() == ".txt" and path.is_file()) or (path / "train.txt").is_file()


def text_task(path: Path, options: Options) -> DataTask:
    """Return the task of a folder with train.txt, valid.txt and perhaps test.txt, or of one file.

    Words are separated by blanks, lines end with `<eos>`. Words that the training text lacks count
    as `<unk>`, which it must then have. Of one file the last tenth is test, the tenth before it
    validation. Raises `InputError` for texts that cannot be learnt from.
    """
    if path.is_file():
        words = read_lines(path)
        cuts = [round(len(words) * share) for share in (1 - 2 * _HELD_OUT, 1 - _HELD_OUT)]
        parts = {
            "train": words[: cuts[0]],
            "valid": words[cuts[0] : cuts[1]],
            "test": words[cuts[1] :],
        }
        return _task(path.stem, parts, options)
    files = {split: path / f"{split}.txt" for split in _SPLITS}
    if not files["valid"].is_file():
        raise InputError(f"folder {str(path)!r} has no valid.txt; accepted: train.txt, valid.txt")
    parts = {split: read_lines(file) for split, file in files.items() if file.is_file()}
    return _task(path.resolve().name, parts, options)


def _task(name: str, parts: dict[str, list[str]], options: Options) -> DataTask:
    """Return the task; `options.limit` keeps so many tokens at the start of train and valid."""
    if (
        options.size is not None
        or options.augmentation not in (None, "none")
        or options.held_out != Options().held_out
    ):
        raise InputError(
            f"size, augmentation and held_out are for images; accepted for {name!r}: none"
        )
    known = vocabulary(parts["train"])
    unknown = _UNKNOWN if _UNKNOWN in known else None
    splits = {}
    for split, words in parts.items():
        tokens = encode(words, known, unknown, f"the {split} part of {name!r}")
        splits[split] = TextSplit(tokens if split == "test" else tokens[: options.limit])
        if len(splits[split].tokens) < 2:
            raise InputError(f"the {split} part of {name!r} is too short; accepted: 2 tokens")
    return DataTask(
        name,
        Signature((WINDOW,), len(known), "language"),
        METRIC,
        train=splits["train"],
        validation=splits["valid"],
        classes=known,
        _test=splits.get("test"),
    )


register("text", Source(names, load))
