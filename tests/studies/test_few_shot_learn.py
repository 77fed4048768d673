"""`learn` and `adapt` with few-shot methods: a prior, a network within seconds, a strategy."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

import transnas as tn
from transnas import InputError, tasks
from transnas.cli import main
from transnas.meta import load_prior, prior_info
from transnas.meta.few_shot import Adapted, FewShotPrior, methods
from transnas.meta.few_shot.decoding import SPACE, decode, one_hot
from transnas.meta.few_shot.derived import decoded_network
from transnas.meta.few_shot.support import measured
from transnas.networks.few_shot import FewShotSupernet
from transnas.studies import adapt_at_once
from transnas.tasks._tensors import TensorSplit

QUICK = {
    "way": 3, "query": 4, "tasks": 2, "meta_steps": 3, "steps": 1, "test_steps": 2, "width": 2,
    "inner_rate": 0.1,
}  # fmt: skip
SEARCH = {**QUICK, "architectures": 1, "architecture_steps": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder of episodes (digits 0 to 6) and a new task (digits 7 to 9)."""
    root = tmp_path_factory.mktemp("digits")
    pixels, labels = load_digits(return_X_y=True)
    for digit in range(10):
        split = "train" if digit < 4 else "validation"
        place = root / "new" / str(digit) if digit > 6 else root / "old" / split / str(digit)
        place.mkdir(parents=True)
        for i, row in enumerate(pixels[labels == digit][:25]):
            picture = (row.reshape(8, 8) * 15.9).astype(np.uint8)
            Image.fromarray(picture).save(place / f"{i}.png")
    return root / "old", root / "new"


@pytest.fixture(scope="module", params=["maml", "t-nas++"])
def prior(
    request: pytest.FixtureRequest,
    folders: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, FewShotPrior]:
    """Return a saved prior."""
    out = tmp_path_factory.mktemp("prior") / request.param
    settings = QUICK if request.param == "maml" else SEARCH
    learnt = tn.learn(request.param, [str(folders[0])], out=out, settings=settings)
    assert isinstance(learnt, FewShotPrior)
    return out, learnt


def test_a_prior_is_what_was_saved(prior: tuple[Path, FewShotPrior]) -> None:
    folder, learnt = prior
    told = learnt.learnt_from
    assert len(told["decoded_accuracies"]) == len(learnt.decoded)
    assert learnt.quality.startswith(f"accuracy {told['validation_accuracy']:.4f}")
    again = load_prior(folder, SPACE)
    assert isinstance(again, FewShotPrior)
    assert again.architectures == learnt.architectures
    assert all(torch.equal(again.meta[name], value) for name, value in learnt.meta.items())
    assert again.settings == learnt.settings
    assert again.remarks == learnt.remarks
    assert prior_info(folder).kind == "few-shot"


def test_adaptation_gives_a_network_that_predicts(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    found = adapt_at_once(prior[0], folders[1], 5, out=tmp_path)
    assert isinstance(found, Adapted)
    assert 0 <= found.accuracy <= 1
    assert found.images == 60
    assert (found.architecture is None) == (prior[1].method == "maml")
    again = Adapted.load(tmp_path)
    task = tasks.get(str(folders[1]))
    assert isinstance(task, tasks.DataTask)
    raw = torch.stack([task.validation[i][0] for i in range(6)])
    images = (raw * task.validation.std + task.validation.mean).clamp(0, 1)  # type: ignore[attr-defined]
    one = found.probabilities(images)
    torch.testing.assert_close(one, again.probabilities(images))
    torch.testing.assert_close(one[2:3], found.probabilities(images[2:3]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.sum(dim=1), torch.ones(6))
    assert set(again.predict(images)) <= {"7", "8", "9"}
    split = task.validation
    assert isinstance(split, TensorSplit)
    guessed = found.predict(split.images.float() * split.scale)
    right = [task.classes[k] == guess for k, guess in zip(split.labels, guessed, strict=True)]
    told = measured(found, split, 2.5)
    assert told.accuracy == pytest.approx(sum(right) / len(split))
    assert (told.images, told.seconds) == (len(split), 2.5)
    assert again.architecture == found.architecture
    assert again.accuracy == found.accuracy


def test_the_architecture_that_is_likeliest_for_the_task_predicts(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path]
) -> None:
    learnt = prior[1]
    if learnt.method == "maml":
        return
    task, rng = tasks.get(str(folders[1])), np.random.default_rng(0)
    assert isinstance(task, tasks.DataTask)
    archs = [SPACE.sample(rng) for _ in range(3)]
    supernet, recipe = learnt.learner.network, methods.get("maml++")
    assert isinstance(supernet, FewShotSupernet)
    networks = [decoded_network(arch, supernet) for arch in archs]
    weights = [recipe(network).init(0).meta for network in networks]
    logits = learnt.task_logits(task, 3).log_softmax(dim=1)
    worth = [float((one_hot([a], supernet)[0].clamp(max=1) * logits)[:, 1:].sum()) for a in archs]
    best = int(np.argmax(worth))
    for order in ([0, 1, 2], [2, 0, 1]):
        several = replace(
            learnt,
            architectures=tuple(archs[i] for i in order),
            decoded=tuple(weights[i] for i in order),
        )
        found = several.adapt(task, learnt.settings["shot"], seed=3)
        assert found.architecture == archs[best]
        assert {n: v.shape[1:] for n, v in found.fast.items()} == {
            n: v.shape for n, v in weights[best].items()
        }


@pytest.mark.parametrize(("shots", "images", "left"), [(1, 1, 0), (5, 5, 0), (1, 3, 6)])
def test_a_few_images_are_enough(
    prior: tuple[Path, FewShotPrior],
    folders: tuple[Path, Path],
    tmp_path: Path,
    shots: int,
    images: int,
    left: int,
) -> None:
    for digit in "789":
        (tmp_path / "few" / digit).mkdir(parents=True)
        for i in range(images):
            shutil.copy(folders[1] / digit / f"{i}.png", tmp_path / "few" / digit)
    found = adapt_at_once(prior[0], str(tmp_path / "few"), shots, out=tmp_path / "out")
    assert isinstance(found, Adapted)
    assert found.support.shape[1] == 3 * shots
    assert found.images == left
    assert (found.accuracy >= 0) == (left > 0)
    assert Adapted.load(tmp_path / "out").images == left


@pytest.mark.parametrize(
    ("kind", "top", "wrong"),
    [("u1", 255, ""), ("f4", 1, ""), ("f4", 255, "from 0 to 255; accepted"), ("u1", 16, "unlike")],
)
def test_pixels_are_what_the_prior_was_learnt_from(
    prior: tuple[Path, FewShotPrior], tmp_path: Path, kind: str, top: int, wrong: str
) -> None:
    pixels, labels = load_digits(return_X_y=True)
    kept = labels > 6
    images = (pixels[kept].reshape(-1, 8, 8) * (top / 16)).astype(kind)
    np.savez(tmp_path / "new.npz", images=images, labels=labels[kept] - 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if wrong:
            with pytest.raises((InputError, UserWarning), match=wrong):
                adapt_at_once(prior[0], tmp_path / "new.npz", 5)
        else:
            assert adapt_at_once(prior[0], tmp_path / "new.npz", 5).images > 0


def test_a_prior_that_was_not_validated_tells_no_accuracy(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders[0] / "train", tmp_path / "digits" / "train")
    learnt = tn.learn("maml", [str(tmp_path / "digits")], out=tmp_path / "prior", settings=QUICK)
    assert learnt.quality == ""


def test_an_adapted_network_replaces_no_prior(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in prior[0].iterdir() if path.is_file()}
    with pytest.raises(InputError, match=r"holds a prior of kind 'few-shot', which would be repl"):
        adapt_at_once(prior[0], folders[1], 5, out=prior[0])
    assert {path: path.read_bytes() for path in prior[0].iterdir() if path.is_file()} == before
    foreign = tmp_path / "model.safetensors"
    foreign.write_bytes(b"of the user")
    for seed in range(2):
        adapt_at_once(prior[0], folders[1], 5, out=tmp_path, seed=seed)
    assert foreign.read_bytes() == b"of the user"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_prior_is_a_strategy_for_larger_tasks(prior: tuple[Path, FewShotPrior]) -> None:
    folder, learnt = prior
    if learnt.method == "maml":
        with pytest.raises(InputError, match="method 'maml', which searches no architectures"):
            learnt.strategy(SPACE)
        return
    strategy = learnt.strategy(SPACE, 3)
    asked = [strategy.ask() for _ in range(4)]
    assert asked[0] == decode(learnt.meta["logits"][None])[0]
    assert len(set(asked)) == 4
    from transnas.strategies import create

    again = create("few-shot", SPACE, 3, prior=str(folder))
    assert [again.ask() for _ in range(4)] == asked


@pytest.mark.parametrize("name", ["new", "digits"])
def test_the_strategy_begins_with_what_the_task_itself_adapts_to(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path], name: str
) -> None:
    """`digits` has another way than the prior: then the head starts anew."""
    folder, learnt = prior
    if learnt.method == "maml":
        return
    task = tasks.get(str(folders[1]) if name == "new" else name)
    assert isinstance(task, tasks.DataTask)
    logits = learnt.task_logits(task, 3)
    assert not torch.equal(logits, learnt.meta["logits"])
    if name == "new":  # an episode's own adaptation
        assert (
            adapt_at_once(folder, task, learnt.settings["shot"], seed=3).decoded
            == (decode(logits[None])[0])
        )
    strategy = learnt.strategy(SPACE, 3)
    strategy.meet(task)
    first = strategy.ask()
    assert first == decode(logits[None])[0]
    again = learnt.strategy(SPACE, 3)
    again.restore(json.loads(json.dumps(strategy.state())))
    assert [again.ask() for _ in range(3)] == [strategy.ask() for _ in range(3)]


def test_a_study_asks_what_its_task_adapts_to(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, learnt = prior
    if learnt.method == "maml":
        return
    task = tasks.get(str(folders[1]))
    assert isinstance(task, tasks.DataTask)
    study = tn.adapt(
        folder, task, trials=1, epochs=1, seed=3, storage=f"sqlite:///{tmp_path}/studies.db"
    )
    assert study.best.architecture == decode(learnt.task_logits(task, 3)[None])[0]
    coloured = tasks.DataTask.from_datasets(
        "coloured",
        *(TensorDataset(torch.rand(9, 3, 8, 8), torch.arange(9) % 3) for _ in range(2)),
    )
    with pytest.raises(
        InputError, match=r"'coloured' have 3 channel\(s\); accepted by this prior: 1"
    ):
        tn.adapt(folder, coloured, trials=1)


@pytest.mark.parametrize(
    ("task", "shots", "sentence"),
    [
        ("digits", 5, "task 'digits' has 10 classes; accepted by this prior: 3"),
        ("NEW", 0, "shots 0 is not accepted"),
        ("NEW", 2.5, "shots 2.5 is not accepted; accepted: whole numbers from 1"),
        ("NEW", "5", "shots '5' is not accepted"),
        ("NEW", 26, "class '7' of task 'new' has 25 training images; accepted: shots up to 25"),
        ("nasbench201/cifar10", 5, "task 'nasbench201/cifar10' has no images"),
    ],
)
def test_what_does_not_fit_is_refused(
    prior: tuple[Path, FewShotPrior],
    folders: tuple[Path, Path],
    task: str,
    shots: Any,
    sentence: str,
) -> None:
    given = str(folders[1]) if task == "NEW" else task
    with pytest.raises(InputError, match=sentence):
        adapt_at_once(prior[0], given, shots)


def test_a_seed_below_0_and_images_of_another_shape_or_range_are_refused(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path]
) -> None:
    with pytest.raises(InputError, match="seed -1 is not accepted; accepted: whole numbers from 0"):
        adapt_at_once(prior[0], folders[1], 5, seed=-1)
    found = adapt_at_once(prior[0], folders[1], 5)
    assert isinstance(found, Adapted)
    for shape in ((1, 8, 8), (2, 3, 8, 8), (2, 1, 8, 9)):
        with pytest.raises(InputError, match=r"images have shape .*; accepted: \(n, 1, 8, 8\)"):
            found.predict(torch.zeros(shape))
    assert len(found.predict(torch.ones(2, 1, 8, 8))) == 2
    with pytest.raises(InputError, match=r"pixels are from 0 to 255; accepted: 0 to 1 \(8 bits"):
        found.predict(torch.tensor([0, 255], dtype=torch.uint8).repeat(32).view(1, 1, 8, 8))


def test_images_of_another_size_are_refused(
    prior: tuple[Path, FewShotPrior], folders: tuple[Path, Path]
) -> None:
    task = tasks.get(str(folders[1]), size=12)
    with pytest.raises(InputError, match=r"shape \(1, 12, 12\); accepted by this prior: \(1, 8, 8"):
        adapt_at_once(prior[0], task, 5)


@pytest.mark.parametrize(
    ("method", "given", "settings", "sentence"),
    [
        ("t-nas", ["digits"], {"colour": 1}, "setting of method 't-nas' 'colour' is unknown"),
        ("t-nas", ["digits"], {"inner": "both"}, "setting 'inner' is 'both'"),
        ("maml", ["digits"], {"way": 5}, "way 5 is more than the 4 train classes of 'digits'"),
        ("maml", ["digits", "omniglot"], {}, "accepted by method 'maml': one source of episodes"),
        ("maml", ["digits"], {"width": 0}, "setting 'width' is 0; accepted"),
        ("t-nas", ["digits"], {"width": 3}, "setting 'width' is 3; accepted by method 't-nas'"),
        ("auto-maml", ["digits"], {"logits_rate": 1.0}, "'logits_rate' is unknown"),
        ("auto-maml", ["digits"], {"inner": "joint"}, "'inner' is unknown"),
        ("reptile", ["digits"], {"order": 2}, "setting 'order' is 2; accepted by reptile"),
        ("maml", [tasks.get("digits")], {}, "task 'digits' is given as an object; accepted by"),
        ("t-nas++", ["digits"], {**SEARCH, "steps": 0}, "setting 'steps' is 0; accepted: whole"),
        ("mamml", ["digits"], {}, "method 'mamml' is unknown; did you mean 'maml'"),
    ],
)
def test_bad_requests(
    method: str,
    given: list[str | Path | tasks.Task],
    settings: dict[str, Any],
    sentence: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=sentence):
        tn.learn(method, given, out=tmp_path, settings=settings)
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_a_search_tells_whether_tasks_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**QUICK, "meta_steps": 1, "architectures": 0, "logits_rate": 0.0}
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    assert (
        main(["learn", "--method", "t-nas", "--tasks", "digits", "--out", str(tmp_path), *given])
        == 0
    )
    assert (
        "note     distinct architectures of 20 validation tasks: 1, so that none has its own; "
        "choices unlike the meta-learnt architecture: 0.0 on average; largest move of a logit: 0\n"
    ) in capsys.readouterr().out


def test_a_training_that_diverges_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**QUICK, "meta_steps": 5, "inner_rate": 1e30}
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    code = main(["learn", "--method", "maml", "--tasks", "digits", "--out", str(tmp_path), *given])
    assert code == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: no task of the last 1 meta-steps stayed finite")


@pytest.mark.parametrize(
    ("method", "given", "sentence"),
    [
        ("maml", {"epochs": 3}, r"takes no epochs; accepted: tasks, settings \('epochs' is a"),
        ("maml", {"rounds": 7}, "takes no rounds"),
        ("t-nas", {"queries": 5}, "takes no queries"),
        ("t-nas", {"space": "nasbench201"}, "takes no space; accepted: tasks, settings$"),
        ("store", {"rounds": 7}, "takes no tasks; accepted: storages, space, objective"),
    ],
)
def test_what_a_method_makes_no_use_of_is_refused(
    method: str, given: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"method '{method}' {sentence}"):
        tn.learn(method, ["digits"], out=tmp_path, **given)


def test_options_of_a_search_are_refused_with_shots(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["adapt", "prior", "--task", "digits", "--shots", "5", "--seed", "1"]
    for more, name in ((["--trials", "3"], "trials"), (["--set", "a=1"], "set")):
        assert main([*words, *more]) == 2
        assert f"error: {name} is given with shots" in capsys.readouterr().err


def test_other_priors_do_not_adapt_at_once(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    tn.search("nasbench201/cifar100", None, "random", 12, storage=storage)
    tn.learn("store", storages=storage, out=tmp_path / "store")
    with pytest.raises(InputError, match="this prior guides a search"):
        adapt_at_once(tmp_path / "store", folders[1], 5)
