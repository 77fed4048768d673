"""More than 200 kinds of bad input: exit code 2, one sentence, no traceback, nothing written."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transnas import spaces
from transnas.cli import main
from transnas.evaluation import Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies import learn, search

CIFAR = "nasbench201/cifar10"
Case = tuple[list[str], str]
"""Arguments, and what the sentence must say (a regular expression)."""


# A world with good and broken things in it ----------------------------------------------------


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a storage, broken data and broken files."""
    folder = tmp_path_factory.mktemp("world")
    good = f"sqlite:///{folder}/good.db"
    search(CIFAR, None, "random", 5, storage=good, name="first")
    search(CIFAR, None, "regularized-evolution", 5, storage=good, name="second", epochs=200)
    (folder / "text.db").write_text("this is not a database, but long enough to be taken for one")
    (folder / "text.json").write_text('{"format": 1}')
    (folder / "file").write_text("a file")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "network").mkdir()
    (folder / "network" / "network.json").write_text('{"version": 1}')
    (folder / "network" / "network.safetensors").write_bytes(b"no tensors")
    _image_folders(folder)
    _arrays(folder)
    _bad_priors(folder, good)
    return folder


class Flat(Evaluator):
    """The same reward for everything."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return Measurement({"validation_accuracy": 0.5})


def _bad_priors(folder: Path, good: str) -> None:
    flat = f"sqlite:///{folder}/flat.db"
    search(CIFAR, None, "random", 5, storage=flat, evaluator=Flat())
    learn("store", storages=good, out=folder / "prior")
    for name in ("prior-cut", "prior-other"):
        shutil.copytree(folder / "prior", folder / name)
    arrays = next((folder / "prior-cut").glob("*.safetensors"))
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 1
    arrays.write_bytes(bytes(data))
    text = (folder / "prior" / "prior.json").read_text()
    other = text.replace('"kind": "store"', '"kind": "crystal-ball"')
    (folder / "prior-other" / "prior.json").write_text(other)
    for name, words in (("prior-words", "not JSON"), ("prior-list", "[1, 2]")):
        (folder / name).mkdir()
        (folder / name / "prior.json").write_text(words)


def _image_folders(folder: Path) -> None:
    png = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(png, "png")
    whole = png.getvalue()
    contents = {
        "no-classes": {},
        "one-class": {"cats": whole},
        "empty-classes": {"cats": b"", "dogs": b""},
        "not-images": {"cats": b"these are words", "dogs": b"these are words"},
        "truncated": {"cats": whole, "dogs": whole[: len(whole) // 2]},
        "loose": {"": whole},
    }
    for name, classes in contents.items():
        (folder / name).mkdir()
        for word, data in classes.items():
            place = folder / name / word
            place.mkdir(exist_ok=True)
            for i in range(6 if data else 0):
                (place / f"{i}.png").write_bytes(data)


def _arrays(folder: Path) -> None:
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2
    bad = {
        "lengths": {"images": images, "labels": labels[:7]},
        "names": {"pictures": images, "words": labels},
        "flat": {"images": images[0, 0], "labels": labels[:8]},
        "five": {"images": images[:, None, None], "labels": labels},
        "floats": {"images": images, "labels": labels + 0.5},
        "negative": {"images": images, "labels": labels - 1},
        "one": {"images": images, "labels": labels * 0},
        "texts": {"images": np.array(["a"] * 20), "labels": labels},
        "objects": {"images": np.array([object()] * 20), "labels": labels},
        "none": {"images": images[:0], "labels": labels[:0]},
        "nan": {"images": np.full((20, 8, 8), np.nan), "labels": labels},
        "split": {"images": images, "labels": labels, "split": np.array(["tset"] * 20)},
        "halves": {"images": images, "labels": labels, "split": np.array(["train"] * 7)},
        "gaps": {"images": images, "labels": labels * 1000},
    }
    for name, arrays in bad.items():
        np.savez(folder / f"{name}.npz", **arrays)
    data = (folder / "lengths.npz").read_bytes()
    (folder / "cut.npz").write_bytes(data[: len(data) // 2])
    with zipfile.ZipFile(folder / "words.npz", "w") as file:
        file.writestr("images.npy", "not an array")
        file.writestr("labels.npy", "not an array")


# The cases ------------------------------------------------------------------------------------


def cases() -> list[Case]:
    """Return every bad command line; they run in the world's folder."""
    return [
        *_names(), *_numbers(), *_settings(), *_objectives(), *_workers(), *_storages(),
        *_architectures(), *_data(), *_studies(), *_reports(), *_comparisons(), *_learning(),
        *_priors(), *_training(), *_usage(), *_long_names(),
    ]  # fmt: skip


def run(*words: str) -> list[str]:
    """Return a search that would take a moment if it were not for what is wrong with it."""
    return ["search", "--task", CIFAR, "--trials", "2", "--storage", "memory://", *words]


def misspelt(word: str) -> list[str]:
    """Return near misses of a word: a letter missing, doubled, swapped, and of another case."""
    middle = len(word) // 2
    return [
        word[:middle] + word[middle + 1 :],
        word[:middle] + word[middle] + word[middle:],
        word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :],
        word + "s",
        word.replace("-", "_").replace("/", ":") if {"-", "/"} & set(word) else word.upper(),
    ]


def _names() -> Iterator[Case]:
    for task in ("digits", CIFAR, "nasbench201/imagenet16-120"):
        for word in misspelt(task):
            near = ".*did you mean" if word.lower() != word else f".*did you mean '{task}'"
            near = "" if word.isupper() else near
            yield ["search", "--task", word, "--storage", "memory://"], f"task '{word}'{near}"
    for word in misspelt("nasbench201")[:4]:
        yield run("--space", word), f"space '{word}'.*did you mean 'nasbench201'"
        yield ["show", "1", "--space", word], f"space '{word}'.*did you mean 'nasbench201'"
    for strategy in ("random", "regularized-evolution", "local-search", "tpe"):
        for word in misspelt(strategy):
            yield run("--strategy", word), f"strategy '{word}'.*accepted: .*{strategy}"
    yield run("--space", "nasbench-macro"), "space 'nasbench-macro'.*accepted: nasbench201"
    yield run("--strategy", ""), "strategy ''"
    yield ["search", "--task", "", "--storage", "memory://"], "task ''"


def _numbers() -> Iterator[Case]:
    for value in ("0", "-1", "-99999999999999999999", "two", "1.5", "1e3", "", "nan", "inf"):
        yield run(f"--trials={value}"), "trials"
        yield run(f"--epochs={value}"), "epochs"
    for value in ("-1", "one", "0.5", "", "nan", "0x10"):
        yield run(f"--seed={value}"), "seed"
        yield run(f"--retries={value}"), "retries"
    for value in ("0", "-1", "-0.5", "soon", "", "nan", "-inf"):
        yield run(f"--timeout={value}"), "timeout"
    for command in (["train", "0"], ["export", "0"], ["diagnose", "first"]):
        for value in ("-1", "99999999999999999999"):
            yield [*command, f"--seed={value}"], f"seed {value} is not accepted"
    yield run("--epochs", "13"), "epochs 13.*accepted: .*200"


def _settings() -> Iterator[Case]:
    for given, said in (
        ("population", "name=value"), ("=3", "setting"), ("population=", "population"),
        ("population=many", "population.*integer"), ("population=1.5", "population.*integer"),
        ("population=0", "population"), ("population=-3", "population"), ("sample=0", "sample"),
        ("popluation=3", "did you mean 'population'"), ("lr=0.1", "'lr' is unknown"),
    ):  # fmt: skip
        yield run("--set", given), said
    yield run("--set", "sample=2", "--set", "sample=3"), "sample.*twice"
    yield run("--strategy", "random", "--set", "population=3"), "'population' is unknown"
    for given in ("learning_rate=-1", "learning_rate=x", "momentum=2", "entropy=-1"):
        yield run("--strategy", "reinforce", "--set", given), given.partition("=")[0]


def _objectives() -> Iterator[Case]:
    yield run("--objective", ""), "objective ''.*accepted: metric"
    yield run("--objective", "validation_accuracy:up"), "accepted: metric or metric:min"
    yield run("--objective", ":min"), "objective"
    yield run("--objective", "a", "--objective", "a"), "twice"
    yield run("--objective", "a", "--objective", "b"), "objective"


def _workers() -> Iterator[Case]:
    for value in ("0", "-1", "two", "1.5", "", "ray:", "ray:0", "ray:x", "spark:2", "1:2"):
        yield run(f"--workers={value}"), f"workers '{value}'"


def _storages() -> Iterator[Case]:
    for url in (
        "studies.db", "", "sqlite://", "sqlite:///no/such/folder/a.db", "sqlite:///text.db",
        "sqlite:///no-classes", "mysql://host/db", "http://host/db", "sqlight:///a.db",
        "journal:///no/such/folder/a.log", "journal:///no-classes", "sqlite:///file/a.db",
        "postgresql://nobody@127.0.0.1:1/none", "://", "redis://localhost",
    ):  # fmt: skip
        yield ["search", "--task", CIFAR, "--trials", "2", "--storage", url], "storage"
    for command in (["report"], ["report", "first"], ["list", "studies"], ["train", "--study=x"]):
        for url in ("sqlite:///absent.db", "sqlite:///text.db", "absent", "journal:///absent.log"):
            yield [*command, "--storage", url], "storage"


def _long_names() -> Iterator[Case]:
    long = "x" * 300
    yield ["search", "--task", CIFAR, "--storage", f"sqlite:///{long}"], "storage .*no file has"
    yield ["list", "studies", "--storage", f"journal:///{long}"], "storage .*no file has"
    yield ["search", "--task", long, "--storage", "memory://"], "task .*no file has"
    yield ["search", "--task", "a\0b", "--storage", "memory://"], "task .*no file has"
    yield ["report", "--out", long, "--storage", "sqlite:///good.db"], "out .*no file has"
    yield ["train", "0", "--task", "digits", "--out", long], "out .*no file has"
    yield ["diagnose", "first", "--json", long], "json .*no file has"
    yield ["learn", "--method", "maml", "--tasks", long, "--out", "new"], "source .*no file has"
    yield ["adapt", long, "--task", "digits"], "prior"
    yield ["export", long, "--task", "digits"], "architecture text"


def _architectures() -> Iterator[Case]:
    cell = spaces.get("nasbench201")
    text = cell.to_text(cell.at(6111))
    rng = np.random.default_rng(0)
    for i in rng.choice(len(text), 12, replace=False).tolist():
        changed = text[:i] + text[i + 1 :]
        yield ["show", changed], "architecture|operation"
    for word, said in (
        (text.replace("nor_conv_3x3", "nor_conv_5x5"), "did you mean 'nor_conv_3x3'"),
        (text.replace("~2", "~3"), "architecture text"), (text + text, "architecture text"),
        ("15625", "accepted: 0..15624"), ("-1", "'-1' is unknown|architecture"), ("", "text"),
        ("1e3", "architecture text"), ("{}", "accepted: .*space"), ("{", "JSON"),
        ('{"space": "nasbench201"}', "JSON"), ('{"space": "x", "values": {}}', "space 'x'"),
        ('{"space": "nasbench201", "values": {}}', "choice '0>1' is missing"),
        ('{"space": "nasbench201", "values": []}', "choice '0>1' is missing|JSON"),
        ('{"space": "nasbench201", "values": {"0>9": "none"}}', "choice '0>9' is unknown"),
        (cell.to_json(cell.at(6111)).replace("nor_conv_3x3", "nothing"), "'nothing' is unknown"),
    ):  # fmt: skip
        yield ["show", word], said
    for space, word in (
        ("nasbench-macro", "2221222"), ("nasbench-macro", "22212223"), ("nasbench-macro", text),
        ("transnas101-micro", "1_02_334"), ("transnas101-micro", "1_02"),
        ("transnas101-macro", "111"), ("transnas101-macro", "1111"), ("transnas101-macro", "5432"),
    ):  # fmt: skip
        yield ["show", word, "--space", space], "architecture text"
    yield ["show", "1", "--task", "digit"], "did you mean 'digits'"
    yield ["show", "1", "--svg", "no/such/folder/a.svg"], "svg .*accepted"
    yield ["show", "1", "--svg", "."], "svg .*is a folder"


def _data() -> Iterator[Case]:
    folders = ("no-classes", "one-class", "empty-classes", "not-images", "truncated", "loose")
    arrays = (
        "lengths", "names", "flat", "five", "floats", "negative", "one", "texts", "objects",
        "none", "nan", "split", "halves", "gaps", "cut", "words", "empty",
    )  # fmt: skip
    for name in (*(f"./{f}" for f in folders), *(f"{a}.npz" for a in arrays), "file", "./absent"):
        said = re.escape(name.removeprefix("./").removesuffix(".npz"))
        search_ = ["search", "--task", name, "--trials", "1", "--storage", "sqlite:///new.db"]
        yield search_, said
        if name in ("./one-class", "cut.npz", "./absent"):
            yield ["train", "1", "--task", name], said


def _studies() -> Iterator[Case]:
    good = ("--storage", "sqlite:///good.db")
    for word in misspelt("second")[:4]:
        yield ["report", word, *good], f"study '{word}'.*did you mean 'second'"
        yield ["train", "--study", word, *good], f"study '{word}'.*did you mean 'second'"
    yield ["report", *good], "2.*accepted: first, second"
    again = ["search", "--task", CIFAR, "--trials", "9", "--name", "first", *good]
    for change, said in (
        (["--strategy", "local-search"], "strategy"), (["--seed", "1"], "strategy|seed"),
        (["--strategy", "random", "--seed", "1"], "seed 1"),
        (["--strategy", "random", "--epochs", "200"], "epochs 200"),
        (["--strategy", "random", "--objective", "validation_accuracy:min"], "objectives"),
    ):  # fmt: skip
        yield [*again, *change], f"{said}.*accepted: the same"
    other = ["search", "--task", "nasbench201/cifar100", "--strategy", "random", "--name", "first"]
    yield [*other, *good], "task 'nasbench201/cifar100' does not fit study 'first'"
    digits = ["search", "--task", "digits", "--space", "transnas101-micro", "--name", "first"]
    yield [*digits, *good], "transnas101-micro"


def _reports() -> Iterator[Case]:
    good = ("--storage", "sqlite:///good.db")
    for path in ("no/such/folder/report.html", ".", "file/report.html", "network"):
        yield ["report", "first", *good, "--out", path], "out .*accepted"
    for path in ("absent.json", "text.json", "text.db", "network", "good.db"):
        yield ["report", "first", *good, "--comparison", path], "comparison"


def _comparisons() -> Iterator[Case]:
    def compare(*words: str, methods: str = "random", tasks: str = CIFAR) -> list[str]:
        few = ["--seeds", "2", "--trials", "3"]
        return ["compare", "--methods", *methods.split(), "--tasks", *tasks.split(), *few, *words]

    yield ["compare"], "methods is missing; accepted: --methods with a value$"
    yield ["compare", "--methods", "random"], "tasks is missing; accepted: --tasks with a value$"
    yield compare(methods="random randon"), "did you mean 'random'"
    yield compare(methods="random random"), "twice"
    yield compare(methods="random:x=1"), "'x' is unknown"
    yield compare(methods="regularized-evolution:sample=x"), "sample.*integer"
    yield compare(methods="regularized-evolution:sample"), "name=value"
    yield compare(methods="regularized-evolution:sample=0"), "sample"
    yield compare(tasks=f"{CIFAR} nasbench201/cifar1"), "did you mean"
    yield compare(tasks=f"{CIFAR} {CIFAR}"), "twice"
    for option in ("seeds", "trials"):
        for value in ("0", "-1", "x", "1.5"):
            yield [*compare(), f"--{option}={value}"], option
    yield compare("--epochs", "13"), "epochs 13"
    yield compare("--objective", "accuracy"), "metric 'accuracy'.*accepted"
    yield compare("--objective", "a:b"), "objective"
    yield compare("--space", "nasbench-macro"), "space"
    yield compare("--json", "no/such/a.json"), "json .*accepted"
    yield compare("--plot", "a.bmp"), "plot .*accepted: .png"
    yield compare("--plot", "no/such/a.png"), "plot .*accepted"
    yield compare("--learn-from", "sqlite:///good.db"), "learn from .*store-transfer"
    learning = {"methods": "random store-transfer"}
    yield compare("--learn-from", "sqlite:///good.db", **learning), "for other tasks than"
    yield compare("--learn-from", "sqlite:///absent.db", **learning), "absent.db"


def _learning() -> Iterator[Case]:
    for url in ("sqlite:///absent.db", "sqlite:///text.db", "absent", "memory://empty"):
        yield run("--learn-from", url), "storage|learn from"
    macro = ["search", "--task", "digits", "--space", "nasbench-macro", "--storage", "memory://"]
    yield [*macro, "--learn-from", "sqlite:///good.db"], "nasbench-macro"
    yield run("--learn-from", "sqlite:///good.db", "--strategy", "random"), "does not learn"
    yield run("--learn-from", "sqlite:///good.db", "--objective", "latency"), "latency"
    yield run("--learn-from", "sqlite:///good.db", "--set", "x=1"), "'x' is unknown"


def _priors() -> Iterator[Case]:
    catch = ["learn", "--method", "catch", "--out", "new"]
    other = "nasbench201/cifar100"
    yield ["learn", "--method", "catc", "--out", "new"], "did you mean 'catch'"
    yield ["learn", "--method", "catch"], "--out"
    yield catch, "tasks are none.*two or more"
    yield [*catch, "--tasks", CIFAR], "two or more different tasks"
    yield [*catch, "--tasks", CIFAR, CIFAR], "two or more different tasks"
    yield [*catch, "--tasks", CIFAR, "digits"], "several kinds"
    yield [*catch, "--tasks", CIFAR, other, "--space", "darts"], "same choices"
    yield [*catch, "--tasks", CIFAR, other, "--set", "prior=store"], "setting 'prior'"
    yield [*catch, "--tasks", CIFAR, other, "--set", "hidden=0"], "setting 'hidden'"
    yield [*catch, "--tasks", CIFAR, other, "--learn-from", "sqlite:///good.db"], "no storages"
    yield [*catch[:-1], "file", "--tasks", CIFAR, other], "out 'file'"
    for field in ("rounds", "queries", "epochs"):
        yield [*catch, "--tasks", CIFAR, other, f"--{field}", "0"], field
    store = ["learn", "--method", "store", "--out", "new"]
    yield store, "storages are empty"
    yield [*store, "--learn-from", "sqlite:///good.db", "--tasks", CIFAR], "takes no tasks"
    yield [*store, "--learn-from", "sqlite:///absent.db"], "absent.db"
    yield [*store, "--learn-from", "sqlite:///good.db", "--space", "darts"], "darts"
    yield [*store, "--learn-from", "sqlite:///flat.db"], "says nothing"
    new = ["--task", CIFAR, "--storage", "memory://"]
    for folder in ("absent", "network", "file", "prior-words", "prior-list"):
        yield ["adapt", folder, *new], f"prior '{folder}' is not readable"
    yield ["adapt", "prior-cut", *new], "prior 'prior-cut' is damaged"
    yield ["adapt", "prior-other", *new], "kind 'crystal-ball'; accepted: catch, "
    yield ["adapt", "prior", "--task", "digits", "--space", "darts"], "space 'nasbench201'"
    yield ["adapt", "prior", "--task", "digist"], "did you mean 'digits'"
    yield ["adapt", "prior", *new, "--trials", "0"], "trials"
    yield run("--prior", "prior", "--strategy", "random"), "does not take a prior"
    yield run("--prior", "prior", "--learn-from", "sqlite:///good.db"), "one of the two"


def _training() -> Iterator[Case]:
    yield ["train"], "ARCH and --study"
    yield ["train", "1", "--study", "first"], "ARCH and --study"
    yield ["train", "1"], "task is missing"
    yield ["train", "1", "--task", CIFAR], "no data"
    yield ["train", "1", "--task", "digit"], "did you mean 'digits'"
    yield ["train", "1", "--task", "digits", "--space", "nasbench-macro"], "network|architecture"
    yield ["train", "99999", "--task", "digits"], "accepted: 0..15624"
    for value in ("0", "-5", "many", "1.5"):
        yield ["train", "1", "--task", "digits", f"--epochs={value}"], "epochs"
    yield ["train", "1", "--task", "digits", "--out", "file"], "out 'file'"
    yield ["train", "1", "--task", "digits", "--out", "file/below"], "out 'file/below'"
    yield ["train", "1", "--task", "digits", "--format", "onxx"], "did you mean 'onnx'"
    for device in ("gpu", "cuda:99", "tpu", "", "cpu:x"):
        yield ["train", "1", "--task", "digits", "--device", device], "device"
        yield ["search", "--task", "digits", "--storage", "memory://", "--device", device], "device"
    yield run("--device", "cpu"), "device 'cpu'.*accepted: auto"
    study = ["train", "--study", "first", "--storage", "sqlite:///good.db"]
    yield study, "no data"
    yield [*study, "--space", "nasbench-macro"], "space 'nasbench-macro'"
    yield ["export", "network"], "network"
    yield ["export", "no-classes"], "network.json"
    yield ["export", "absent"], "accepted: a folder"
    yield ["export", "1", "--task", CIFAR, "--format", "pickle"], "format 'pickle'"
    yield ["export", "x", "--task", "digits"], "architecture text"
    yield ["export", "1", "--task", "digits", "--out", "file"], "out 'file'"


def _usage() -> Iterator[Case]:
    yield ["serach"], "serach"
    yield ["search"], "task is missing; accepted: --task with a value$"
    yield ["search", "--task"], "task has no value; accepted: --task with a value$"
    yield ["search", "--task", "digits", "--learn-from"], "learn from has no value"
    yield (
        ["search", "--tsak", "digits"],
        "option '--tsak' is unknown; did you mean '--task'.*--seed",
    )
    yield ["search", "digits"], "--task|digits"
    yield ["--verbose"], "option '--verbose' is unknown; did you mean '--version'"
    yield ["list"], r"what is missing; accepted: spaces\|tasks"
    yield ["list", "everything"], "kind 'everything' is unknown; accepted: .*studies"
    yield ["list", "space"], "kind 'space' is unknown; did you mean 'spaces'"
    yield ["list", "spaces", "tasks"], "tasks"
    yield ["show"], "architecture is missing; accepted: ARCH$"
    yield ["adapt"], "prior is missing; accepted: PRIOR$"
    yield ["interleave", "--baselines=3"], "accepted: --baselines without a value$"
    yield ["report", "a", "--out"], "--out"
    for option, value in (("trials", "abc"), ("trials", "2.5"), ("epochs", ""), ("seed", "1e3")):
        said = f"error: {option} '{value}' is not accepted; accepted: an integer$"
        yield ["search", "--task", "digits", f"--{option}={value}"], said
    for option, value in (("timeout", "soon"), ("latency-weight", "0,5")):
        said = f"error: {option.replace('-', ' ')} '{value}' is not accepted; accepted: a number$"
        yield ["search", "--task", "digits", f"--{option}={value}"], said


CASES = cases()


def names_of(cases: list[Case]) -> list[str]:
    return [f"{i}-{' '.join(arguments)[:60]!r}" for i, (arguments, _) in enumerate(cases)]


@pytest.fixture(scope="session")
def before(world: Path) -> dict[str, bytes]:
    return tree(world)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below, and the folders."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"folder"
        for p in sorted(folder.rglob("*"))
    }


def test_there_are_enough_of_them() -> None:
    assert len({tuple(arguments) for arguments, _ in CASES}) >= 200


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=names_of(CASES))
def test_bad_input_gets_one_sentence(
    arguments: list[str],
    said: str,
    world: Path,
    before: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.delenv("TRANSNAS_DATA", raising=False)
    code = main(arguments)
    printed = capsys.readouterr()
    assert code == 2, (code, printed)
    assert re.fullmatch(r"error: \S[^\n]*\n", printed.err), printed.err
    assert re.search(said, printed.err), printed.err
    assert len(printed.err) < 900
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert tree(world) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--task", "digist"], "did you mean 'digits'"),
        (["report", "x", "--storage", "sqlite:///absent.db"], "absent.db"),
        (["show", "|none~0|"], "architecture text"),
        (["serach"], "serach"),
    ],
)
def test_the_installed_program_does_the_same(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    program = shutil.which("transnas", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    command = [program] if program else [sys.executable, "-m", "transnas"]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]*\n", done.stderr)
    assert said in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_refused_before_work(tmp_path: Path) -> None:
    """As a user without rights, because root may write anywhere."""
    if os.getuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    assert main(["show", "1", "--svg", str(tmp_path / "a.svg")]) == 2
    assert main(["search", "--task", CIFAR, "--storage", f"sqlite:///{tmp_path}/a.db"]) == 2


def test_json_of_a_cell_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    cell = spaces.get("nasbench201")
    assert main(["show", cell.to_json(cell.at(6111))]) == 0
    assert cell.to_text(cell.at(6111)) in capsys.readouterr().out
    assert json.loads(cell.to_json(cell.at(6111)))["space"] == "nasbench201"
