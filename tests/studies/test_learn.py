"""`learn` and `adapt`: what a prior gives is what its object gives, recorded and resumable."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import transnas as tn
from transnas import InputError, cli, spaces, tasks
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.evaluation.table import Table
from transnas.evaluation.training import Training
from transnas.meta import load_prior, prior_info
from transnas.meta._prior import read_prior, write_prior
from transnas.meta.catch import CatchStrategy, TableFamily
from transnas.spaces import Architecture
from transnas.strategies import Strategy, replicate
from transnas.strategies._replicates import one_replicate
from transnas.studies import SearchError
from transnas.tasks import DataTask

POOL = ("nasbench201/cifar100", "nasbench201/imagenet16-120")
NEW = "nasbench201/cifar10"
SMALL = {"hidden": 8, "z_size": 3, "candidates": 8, "updates": 2, "policy_updates": 1, "initial": 3}
CELLS = spaces.get("nasbench201")


def catch(out: Path, **more: Any) -> Any:
    """Meta-train a small agent for a moment."""
    given: dict[str, Any] = {"rounds": 3, "queries": 6, "settings": SMALL, **more}
    return tn.learn("catch", POOL, out=out, **given)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a storage with a study of each task of the pool."""
    storage = f"sqlite:///{tmp_path_factory.mktemp('earlier')}/studies.db"
    for task in POOL:
        tn.search(task, None, "random", 30, storage=storage)
    return storage


@pytest.fixture(scope="module", params=["catch", "store"])
def prior(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, earlier: str
) -> tuple[Path, Any]:
    """Return a folder with a prior, and the prior that it was made from."""
    out = tmp_path_factory.mktemp("priors") / "prior"
    if request.param == "catch":
        return out, catch(out)
    return out, tn.learn("store", storages=earlier, out=out)


def asked(strategy: Strategy, evaluator: Evaluator, count: int) -> list[Architecture]:
    """Return what a strategy asks for on a task."""
    found = []
    for _ in range(count):
        found.append(strategy.ask())
        strategy.tell(found[-1], evaluator.evaluate(found[-1]))
    return found


def test_adapting_equals_using_the_prior_itself(prior: tuple[Path, Any]) -> None:
    folder, learnt = prior
    task = tasks.get(NEW)
    study = tn.adapt(folder, NEW, 12, storage="memory://", seed=3, name=f"adapted-{folder}")
    by_hand = asked(
        learnt.strategy(CELLS, 3, study.objectives),
        Table(task),  # type: ignore[arg-type]
        12,
    )
    assert [t.architecture for t in study.trials] == by_hand
    assert study.strategy == learnt.strategy_name == prior_info(folder).strategy_name
    assert study.settings["prior"] == prior_info(folder).digest
    scratch = tn.search(
        NEW, None, study.strategy, 12, storage="memory://", name=f"scratch-{folder}"
    )
    assert [t.architecture for t in scratch.trials] != by_hand


def test_the_argument_and_the_setting_give_one_search(prior: tuple[Path, Any]) -> None:
    folder, learnt = prior
    name, given = learnt.strategy_name, {"prior": str(folder)}
    argument = tn.adapt(folder, NEW, 10, storage="memory://", name=f"argument-{folder}")
    setting = tn.search(
        NEW, None, name, 10, storage="memory://", name=f"setting-{folder}", settings=given
    )
    assert [t.architecture for t in setting.trials] == [t.architecture for t in argument.trials]
    assert setting.settings == argument.settings
    found = tn.compare([f"{name}:prior={folder}"], [NEW], seeds=1, trials=10)
    assert found.arms[0].values == (max(argument.rewards()),)
    other = "store-transfer" if name == "catch" else "catch"
    with pytest.raises(InputError, match=f"'{other}' does not take a prior of kind"):
        tn.compare([f"{other}:prior={folder}"], [NEW], seeds=1, trials=10)


def test_the_context_is_chosen_at_adaptation_and_sizes_are_not(tmp_path: Path) -> None:
    given: dict[str, Any] = {"storage": "memory://"}
    learnt = catch(tmp_path)
    without = tn.adapt(
        tmp_path, NEW, 10, name=f"zero-{tmp_path}", settings={"context": "zero"}, **given
    )
    chosen = replace(learnt.settings, context="zero")
    zero = CatchStrategy(CELLS, 0, without.objectives, chosen, learnt)
    by_hand = asked(zero, Table(tasks.get(NEW)), 10)  # type: ignore[arg-type]
    assert without.settings["context"] == "zero"
    assert [t.architecture for t in without.trials] == by_hand
    whole = tn.adapt(tmp_path, NEW, 10, name=f"whole-{tmp_path}", **given)
    assert [t.architecture for t in whole.trials] != by_hand
    for size in ("hidden", "z_size"):
        with pytest.raises(InputError, match=f"setting '{size}' is 7, but the prior's networks"):
            tn.adapt(tmp_path, NEW, 10, name=f"other-{tmp_path}", settings={size: 7}, **given)


def test_a_study_goes_on_with_its_prior_and_refuses_another(
    prior: tuple[Path, Any], tmp_path: Path
) -> None:
    folder, learnt = prior
    storage = f"sqlite:///{tmp_path}/studies.db"
    tn.adapt(folder, NEW, 4, storage=storage, name="new")
    moved = tmp_path / "moved"
    learnt.save(moved)
    resumed = tn.adapt(moved, NEW, 9, storage=storage, name="new")
    whole = tn.adapt(folder, NEW, 9, storage="memory://", name=f"whole-{folder}")
    assert [t.architecture for t in resumed.trials] == [t.architecture for t in whole.trials]
    data = json.loads((moved / "prior.json").read_text())
    (moved / "prior.json").write_text(json.dumps({**data, "note": "changed"}))
    with pytest.raises(InputError, match=r"setting 'prior' .* does not fit study 'new'"):
        tn.adapt(moved, NEW, 12, storage=storage, name="new")


def test_compare_and_the_setting_take_a_folder_too(prior: tuple[Path, Any]) -> None:
    folder, learnt = prior
    method = f"{learnt.strategy_name}:prior={folder}"
    found = tn.compare(["random", method], [NEW], seeds=2, trials=6)
    assert [row.method for row in found.rows()] == ["random", method]


def test_replicates_with_a_prior_equal_the_strategy_with_it(prior: tuple[Path, Any]) -> None:
    folder, learnt = prior
    name = learnt.strategy_name
    settings = {**learnt.learnt_settings(), "prior": str(folder)}
    rewards = Table(tasks.get(NEW)).rewards()  # type: ignore[arg-type]
    together = replicate(name, CELLS, rewards, [0, 1], 8, **settings)
    alone = [one_replicate(name, CELLS, rewards, seed, 8, **settings) for seed in (0, 1)]
    assert together.tolist() == alone


def test_meta_training_goes_on_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = catch(tmp_path / "whole")
    rewards, calls = TableFamily.tasks, []

    def stopped(self: TableFamily, seeds: Any, epoch: int) -> Any:
        calls.append(epoch)
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return rewards(self, seeds, epoch)

    monkeypatch.setattr(TableFamily, "tasks", stopped)
    with pytest.raises(KeyboardInterrupt):
        catch(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "prior.json").exists()
    resumed = catch(tmp_path / "stopped")
    assert calls == [0, 1, 1, 2]
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, resumed.arrays[name])
    assert prior_info(tmp_path / "whole").digest == prior_info(tmp_path / "stopped").digest
    with pytest.raises(InputError, match="seeds"):
        catch(tmp_path / "stopped", seed=5)
    with pytest.raises(InputError, match="'budget' None; accepted: 200"):
        catch(tmp_path / "stopped", epochs=200, rounds=4)


def test_a_kill_before_the_first_checkpoint_was_whole_is_no_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "stopped" / "checkpoint"
    write_prior(folder, "catch-checkpoint", 1, {"space": "nasbench201"}, {"a": np.zeros(3)})
    (folder / "prior.json").rename(folder / "prior.json.part")
    resumed, whole = catch(tmp_path / "stopped"), catch(tmp_path / "whole")
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, resumed.arrays[name])


def test_only_a_first_task_that_cannot_be_measured_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards = TableFamily.tasks

    def failing(at: int) -> Any:
        return lambda self, seeds, epoch: (
            (lambda codes: np.full(len(codes), np.nan))
            if epoch == at
            else rewards(self, seeds, epoch)
        )

    monkeypatch.setattr(TableFamily, "tasks", failing(0))
    with pytest.raises(SearchError, match="none of 6 networks of the first task"):
        catch(tmp_path / "first")
    monkeypatch.setattr(TableFamily, "tasks", failing(1))
    whole = catch(tmp_path / "second")
    # The agent learns nothing from such a task; the others go on as without it.
    assert whole.learnt_from["epochs"] == 3
    assert all(np.isfinite(array).all() for array in whole.arrays.values())
    one = catch(tmp_path / "one", rounds=1)
    two = catch(tmp_path / "two", rounds=2)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name])


def test_progress_says_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catch(tmp_path / "prior", progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert re.search(r"1/18 measurements, .* left$", lines[0])
    assert lines[-1].endswith("18/18 measurements, 0 s left")


def test_an_interrupted_write_leaves_the_old_prior(tmp_path: Path) -> None:
    write_prior(tmp_path, "k", 1, {"space": "nasbench201"}, {"a": np.zeros(3)})
    before = (tmp_path / "prior.json").read_bytes()
    write_prior(tmp_path / "new", "k", 1, {"space": "nasbench201"}, {"a": np.ones(3)})
    arrays = next((tmp_path / "new").glob("*.safetensors"))
    (tmp_path / arrays.name).write_bytes(arrays.read_bytes())  # and then the power went
    np.testing.assert_array_equal(read_prior(tmp_path, "k", 1, CELLS)[1]["a"], np.zeros(3))
    assert (tmp_path / "prior.json").read_bytes() == before
    (tmp_path / f"{arrays.name}.part").write_bytes(b"half")  # or in the middle of the file
    (tmp_path / "own.safetensors.part").touch()
    write_prior(tmp_path, "k", 1, {"space": "nasbench201"}, {"a": np.full(3, 2.0)})
    left = sorted(path.name for path in tmp_path.glob("*.safetensors*"))
    assert left == sorted(
        [read_prior(tmp_path, "k", 1, CELLS)[0]["arrays"], "own.safetensors.part"]
    )


def test_changed_arrays_are_noticed(prior: tuple[Path, Any], tmp_path: Path) -> None:
    prior[1].save(tmp_path)
    assert type(load_prior(tmp_path, CELLS)) is type(prior[1])
    arrays = next(tmp_path.glob("*.safetensors"))
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 1
    arrays.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        tn.adapt(tmp_path, NEW, 3, storage="memory://")


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_rewards_that_say_nothing_are_refused(value: float) -> None:
    rewards = np.stack([np.arange(CELLS.size, dtype=np.float64), np.full(CELLS.size, value)])
    with pytest.raises(InputError, match="task 'flat' has the same reward, or none"):
        TableFamily(CELLS, rewards, ["ramp", "flat"])


class Constant(Evaluator):
    """The same reward for everything."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return Measurement({"validation_accuracy": 0.5}, Cost(1.0, 1, "constant"))


def test_studies_without_an_order_teach_nothing(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/flat.db"
    tn.search(NEW, None, "random", 6, storage=storage, evaluator=Constant())
    with pytest.raises(InputError, match="says nothing about which"):
        tn.learn("store", storages=storage, out=tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


class Even(Evaluator):
    """Rewards even choices, on every space."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        even = sum(value % 2 == 0 for value in arch.values) / len(arch.values)
        return Measurement({"validation_accuracy": even}, Cost(1.0, 1, "even"))


def test_a_named_device_searches_the_space_of_the_prior(tmp_path: Path) -> None:
    storage, prior = f"sqlite:///{tmp_path}/s.db", str(tmp_path / "prior")
    given: dict[str, Any] = {"storage": storage, "evaluator": Even()}
    tn.search(images("one", 0), "chain", "random", 12, **given)
    tn.learn("store", storages=storage, space="chain", out=prior)
    new = ["--task", "digits:limit=6", "--trials", "1", "--epochs", "1", "--device", "cpu"]
    ways = (["adapt", prior], ["search", "--strategy", "store-transfer", "--set", f"prior={prior}"])
    for name, way in zip("ab", ways, strict=True):
        assert cli.main([*way, *new, "--storage", storage, "--name", name]) == 0
        assert tn.load_study(name, storage).trials[0].architecture.space == "chain"


def images(name: str, seed: int) -> DataTask:
    """Return a task of a few random images."""
    import torch
    from torch.utils.data import TensorDataset

    pixels = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    data = TensorDataset(pixels, (pixels.mean(dim=(1, 2, 3)) > 0).long())
    return DataTask.from_datasets(name, data)


def test_data_sets_are_a_family_too(tmp_path: Path) -> None:
    pair = [images("one", 0), images("two", 1)]
    given: dict[str, Any] = {"rounds": 2, "queries": 2, "epochs": 1, "settings": SMALL}
    learnt = tn.learn("catch", pair, out=tmp_path / "prior", **given)
    assert learnt.learnt_from["tasks"] == ["one", "two"]
    assert (learnt.learnt_from["budget"], learnt.learnt_from["epochs"]) == (1, 2)
    study = tn.adapt(tmp_path / "prior", images("three", 2), 2, epochs=1, storage="memory://")
    assert len(study.trials) == 2
    with pytest.raises(InputError, match="several kinds"):
        tn.learn("catch", [pair[0], NEW], out=tmp_path / "mixed")


def test_an_interruption_loses_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"rounds": 2, "queries": 4, "epochs": 1, "settings": SMALL}
    pair = [images("one", 0), images("two", 1)]
    tn.learn("catch", pair, out=tmp_path / "whole", **given)
    evaluate, trained, stop = Training.evaluate, [], 6

    def stopped(self: Training, arch: Architecture, *rest: Any) -> Measurement:
        if len(trained) == stop:
            raise KeyboardInterrupt
        trained.append((self.task.name, arch))
        return evaluate(self, arch, *rest)

    monkeypatch.setattr(Training, "evaluate", stopped)
    with pytest.raises(KeyboardInterrupt):
        tn.learn("catch", pair, out=tmp_path / "stopped", **given)
    with pytest.raises(InputError, match=r"rewards.jsonl' has seeds \[0\]; accepted: \[5\]"):
        tn.learn("catch", pair, out=tmp_path / "stopped", seed=5, **given)
    other = [pair[0], replace(pair[1], digest="aa")]  # data of the same name
    with pytest.raises(InputError, match=r"'data' None; accepted: \['', 'aa'\]"):
        tn.learn("catch", other, out=tmp_path / "stopped", **given)
    capsys.readouterr()
    stop = 100
    tn.learn("catch", pair, out=tmp_path / "stopped", progress=True, **given)
    assert len(trained) == len(set(trained)) == 8
    assert prior_info(tmp_path / "stopped").digest == prior_info(tmp_path / "whole").digest
    lines = capsys.readouterr().err.splitlines()
    assert "7/8 measurements" in lines[0]
    assert "8/8 measurements, 0 s left" in lines[-1]
