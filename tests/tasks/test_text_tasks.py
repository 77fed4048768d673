"""Texts as tasks: published counts, windows that follow one another, texts that are refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from transnas import InputError, tasks
from transnas.evaluation.training import Batches
from transnas.tasks import DataTask
from transnas.tasks._text import END, Continuation, TextSplit

CPU = torch.device("cpu")


def task_of(folder: Path, train: str, valid: str = "a b\n" * 4, **options: object) -> DataTask:
    (folder / "train.txt").write_text(train)
    (folder / "valid.txt").write_text(valid)
    found = tasks.get(str(folder), **options)
    assert isinstance(found, DataTask)
    return found


def test_the_penn_treebank_has_the_published_counts(data_file: Callable[[str], Path]) -> None:
    data_file("text/ptb.train.txt")
    ptb = tasks.get("ptb")
    assert isinstance(ptb, DataTask)
    assert isinstance(ptb.train, TextSplit)
    assert isinstance(ptb.validation, TextSplit)
    assert len(ptb.train.tokens) == 929_589
    assert len(ptb.validation.tokens) == 73_760
    assert ptb.signature.outputs == 10_000
    assert ptb.kind == "language"
    # Unigram perplexity 687 on validation and 639 on test, as the data's README says.
    counts = torch.bincount(ptb.train.tokens, minlength=10_000).double()
    logs = (counts / counts.sum()).log()
    assert round(math.exp(-float(logs[ptb.validation.tokens].mean()))) == 687

    def unigram(split: object) -> dict[str, float]:
        assert isinstance(split, TextSplit)
        assert len(split.tokens) == 82_430
        return {"test_perplexity": math.exp(-float(logs[split.tokens].mean()))}

    assert round(ptb.final_test("unigram", unigram).metrics["test_perplexity"]) == 639
    assert len(ptb.final_tests) == 1


@pytest.mark.parametrize("size", [1, 3, 4])
def test_windows_follow_one_another_and_miss_only_the_rest(size: int) -> None:
    split = TextSplit(torch.arange(50), window=4)
    batches = Batches(split, size, CPU, torch.Generator().manual_seed(0))
    seen: list[list[int]] = [[] for _ in range(size)]
    for tokens, targets in batches.epoch():
        assert isinstance(targets, Continuation)
        assert torch.equal(tokens + 1, targets.tokens)
        for stream, row in zip(seen, tokens.tolist(), strict=True):
            stream += row
    length = 50 // size
    assert seen == [list(range(s * length, (s + 1) * length - 1)) for s in range(size)]
    windows = [tokens.shape[1] for tokens, _ in batches.epoch()]
    assert len(windows) == len(batches)
    assert set(windows[:-1]) <= {4}


def test_all_windows_of_a_pass_share_a_state_that_starts_empty() -> None:
    batches = Batches(TextSplit(torch.arange(50), window=4), 3, CPU)
    for _ in range(2):
        for i, (_, targets) in enumerate(batches.epoch()):
            assert (targets.carried.state is None) == (i == 0)
            targets.carried.state = torch.tensor(float(i))


def test_two_readers_of_one_text_do_not_share_a_state() -> None:
    split = TextSplit(torch.arange(50), window=4)
    one, two = (next(Batches(split, 3, CPU).epoch())[1] for _ in range(2))
    one.carried.state = torch.ones(())
    assert two.carried.state is None


def test_joined_texts_follow_one_another_and_share_no_state() -> None:
    first, second = TextSplit(torch.arange(5), window=2), TextSplit(torch.arange(5, 9))
    first.carried.state = torch.ones(())
    both = first.joined(second)
    assert both is not None
    assert both.tokens.tolist() == list(range(9))
    assert (both.window, both.carried.state) == (2, None)
    for copy in (both.arranged(3), both.to("cpu")):
        assert copy.carried is not both.carried
    assert TextSplit(torch.arange(5)).arranged(9).streams == 2  # of 2 tokens each
    apart = Continuation(torch.zeros(1), first.carried).apart()
    apart.carried.state = None
    assert first.carried.state is not None


def test_a_state_is_remembered_and_recalled() -> None:
    text = TextSplit(torch.arange(50), streams=3, window=4)
    _, targets = text.batch(torch.tensor([0, 1, 2]))
    assert text.memory() is None
    targets.carried.state = torch.ones(3, 2)
    other = TextSplit(torch.arange(50), streams=3, window=4)
    memory = text.memory()
    assert memory is not None
    other.recall(memory)
    _, following = other.batch(torch.tensor([3, 4, 5]))
    assert torch.equal(following.carried.state, torch.ones(3, 2))
    tokens, after = text[5]  # stream 2 of window 1
    assert tokens.tolist() == [36, 37, 38, 39]
    assert after.tolist() == [37, 38, 39, 40]
    # 13 tokens have 12 that another one follows: three whole windows.
    assert len(TextSplit(torch.arange(13), window=4)) == 3


def test_a_text_is_read_line_by_line(tmp_path: Path) -> None:
    task = task_of(tmp_path, "b a b\n\nb <unk>\n", "zzz a\n")
    assert task.classes == ("b", END, "<unk>", "a")
    assert isinstance(task.train, TextSplit)
    assert isinstance(task.validation, TextSplit)
    assert task.train.tokens.tolist() == [0, 3, 0, 1, 0, 2, 1]
    assert task.validation.tokens.tolist() == [2, 3, 1]
    assert task.signature.outputs == 4
    assert not task.has_test


def test_a_mark_at_the_start_of_a_text_and_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book").mkdir()
    task_of(tmp_path / "book", "a b c\n", "\ufeffa b\n")
    monkeypatch.chdir(tmp_path / "book")
    assert tasks.get(".").name == "book"


def test_one_file_is_split_in_order(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("a b c d\n" * 20)
    task = tasks.get(str(path))
    assert isinstance(task, DataTask)
    lengths = [len(s.tokens) for s in (task.train, task.validation)]  # type: ignore[attr-defined]
    assert lengths == [80, 10]
    assert task.has_test


def test_a_limit_keeps_the_start(tmp_path: Path) -> None:
    text = "a b c d e f\n" * 9
    task = task_of(tmp_path, text, limit=10)
    assert isinstance(task.train, TextSplit)
    words = Counter(task.classes[t] for t in task.train.tokens.tolist())
    assert words == Counter(text.split()[:6]) + Counter([END]) + Counter("abc")


@pytest.mark.parametrize(
    ("train", "valid", "options", "message"),
    [
        ("", "a b\n", {}, "accepted: 2 or more"),
        ("a a a\n", "a b\n", {}, "1 different word"),
        ("a b\n", "a new\n", {}, "word 'new' of the valid part"),
        ("a b\n", "a b\n", {"limit": 1}, "too short"),
        ("a b\n", "a b\n", {"size": 8}, "are for images"),
        ("a b\n", "a b\n", {"augmentation": "natural"}, "are for images"),
        ("a b\n", "a b\n", {"held_out": 0}, "are for images"),
    ],
)
def test_texts_that_cannot_be_learnt_from_are_refused(
    tmp_path: Path, train: str, valid: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        task_of(tmp_path, train, valid, **options)


def test_a_folder_without_validation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a b\n")
    with pytest.raises(InputError, match=r"no valid\.txt"):
        tasks.get(str(tmp_path))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "valid.txt").write_text("a b\n")
    with pytest.raises(InputError, match="UTF-8"):
        tasks.get(str(tmp_path))
