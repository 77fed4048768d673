"""Exported networks: programs that agree, load without transnas, and come back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from transnas import InputError, networks, spaces
from transnas.evaluation import Recipe, Training
from transnas.evaluation.training import Stopped
from transnas.studies import export as exporting
from transnas.studies.export import describe, export, load_network
from transnas.studies.final import compare_finalists, train_final
from transnas.tasks import DataTask, Signature, get

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
CELL = SPACE.architecture((3, 4, 2, 1, 0, 3))
SIGNATURE = Signature((1, 7, 9), 4)  # odd sides


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    built = networks.build(SPACE, CELL, SIGNATURE, channels=4, cells=1)
    built(torch.randn(8, *SIGNATURE.input_shape))  # statistics that differ from their start
    return built.eval()


def test_weights_and_description_come_back_as_the_same_network(
    network: nn.Module, tmp_path: Path
) -> None:
    exported = export(network, SIGNATURE, tmp_path / "out", ("safetensors",), {"note": "é"})
    assert [f.name for f in exported.files] == ["network.json", "network.safetensors"]
    assert exported.differences == {}
    about = json.loads((tmp_path / "out" / "network.json").read_text(encoding="utf-8"))
    assert about["metadata"] == {"note": "é"}
    assert about["input_shape"] == [1, 7, 9]
    assert about["built"]["skeleton"] == {"channels": 4, "cells": 1}
    loaded = load_network(tmp_path / "out")
    images = torch.randn(3, 1, 7, 9)
    assert torch.equal(loaded(images), network(images))
    found = networks.origin(loaded)
    assert found is not None
    assert SPACE.from_json(found.architecture) == CELL


def test_torch_program_loads_where_transnas_is_absent(network: nn.Module, tmp_path: Path) -> None:
    exported = export(network, SIGNATURE, tmp_path, ("torch",))
    assert exported.differences["torch"] < 1e-5
    images = torch.randn(5, 1, 7, 9)
    torch.save(images, tmp_path / "images.pt")
    program = f"""
import sys
sys.modules["transnas"] = None  # importing it is an error from here on
import torch
folder = {str(tmp_path)!r}
module = torch.export.load(folder + "/network.pt2").module()
assert isinstance(module, torch.nn.Module)
images = torch.load(folder + "/images.pt", weights_only=True)
with torch.no_grad():
    torch.save(module(images), folder + "/scores.pt")
assert not any(name.startswith("transnas.") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=120)
    scores = torch.load(tmp_path / "scores.pt", weights_only=True)
    assert torch.allclose(scores, network(images), atol=1e-5)


def test_files_of_another_network_do_not_stay_beside_those_of_this_one(
    network: nn.Module, tmp_path: Path
) -> None:
    export(network, SIGNATURE, tmp_path, ("safetensors",))
    assert export(load_network(tmp_path), SIGNATURE, tmp_path, ("torch",)).removed == ()
    (tmp_path / "notes.txt").write_text("mine")
    again = networks.build(SPACE, CELL, SIGNATURE, channels=4, cells=1)
    exported = export(again, SIGNATURE, tmp_path, ("safetensors",))
    assert exported.removed == (tmp_path / "network.pt2",)
    assert {f.name for f in tmp_path.iterdir()} == {*(f.name for f in exported.files), "notes.txt"}
    export(network, SIGNATURE, tmp_path, ("torch",))
    assert {f.name for f in tmp_path.iterdir()} == {"network.pt2", "notes.txt"}


def test_another_network_of_the_same_weights_is_another(tmp_path: Path) -> None:
    def built(operation: int) -> nn.Module:
        torch.manual_seed(0)
        cell = SPACE.architecture((operation,) * 6)
        return networks.build(SPACE, cell, SIGNATURE, channels=4, cells=1)

    export(built(1), SIGNATURE, tmp_path, ("safetensors", "torch"))  # skips
    exported = export(built(4), SIGNATURE, tmp_path, ("safetensors",))  # pools
    assert exported.removed == (tmp_path / "network.pt2",)


def test_onnx_program_agrees_for_every_batch_size(network: nn.Module, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    exported = export(network, SIGNATURE, tmp_path, ("onnx",))
    assert 0 <= exported.differences["onnx"] < 1e-5
    assert [f.name for f in exported.files] == ["network.onnx"]
    session = onnxruntime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    for count in (1, 2, 9):
        images = torch.randn(count, 1, 7, 9)
        (scores,) = session.run(["scores"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(scores), network(images), atol=1e-5)


def test_a_failure_leaves_what_was_there(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(network, SIGNATURE, tmp_path, ("safetensors",), {"version": "first"})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def break_down(*given: Any) -> float:
        (given[2] / "network.pt2").write_text("half")
        raise RuntimeError("disk full")

    monkeypatch.setitem(exporting._WRITERS, "torch", break_down)
    network.train()
    with pytest.raises(RuntimeError, match="disk full"):
        export(network, SIGNATURE, tmp_path, ("safetensors", "torch"), {"version": "second"})
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    assert network.training


def test_a_program_that_disagrees_is_not_written() -> None:
    scores = torch.tensor([[1.0, 2.0]])
    assert exporting._difference("onnx", scores + 1e-4, scores) == pytest.approx(1e-4, rel=0.01)
    for wrong in (scores + 0.1, scores * float("nan")):
        with pytest.raises(RuntimeError, match="nothing was written"):
            exporting._difference("onnx", wrong, scores)


def test_bad_requests_are_refused(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format 'onix' is unknown; did you mean 'onnx'"):
        export(network, SIGNATURE, tmp_path, ("onix",))
    with pytest.raises(InputError, match="formats are empty"):
        export(network, SIGNATURE, tmp_path, ())
    for metadata in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(InputError, match="metadata is not JSON"):
            export(network, SIGNATURE, tmp_path, ("safetensors",), metadata)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        export(network, SIGNATURE, tmp_path / "file", ("safetensors",))
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def test_a_missing_extra_is_named_with_its_pip_line(
    network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'transnas\[export\]'"):
        export(network, SIGNATURE, tmp_path, ("onnx",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("space", ["darts-recurrent", "recurrent-tree"])
def test_language_models_are_written_with_their_tied_weights(space: str, tmp_path: Path) -> None:
    place, signature = spaces.get(space), Signature((3,), 11, "language")
    torch.manual_seed(0)
    arch = place.sample(np.random.default_rng(0))
    model = networks.build(place, arch, signature, hidden=4).eval()
    written = export(model, signature, tmp_path, ("safetensors", "torch"))
    assert written.differences["torch"] < 1e-5
    tokens = torch.randint(11, (5, 3))
    scores = model(tokens)
    loaded: Any = load_network(tmp_path)
    assert torch.equal(loaded(tokens), scores)
    assert loaded.decoder.weight is loaded.embedding.weight
    program = torch.export.load(tmp_path / "network.pt2").module()
    assert torch.allclose(program(tokens), scores, atol=1e-5)


@pytest.mark.slow
def test_a_language_model_takes_tokens_as_an_onnx_program(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    place, signature = spaces.get("darts-recurrent"), Signature((3,), 11, "language")
    arch = place.sample(np.random.default_rng(0))
    model = networks.build(place, arch, signature, hidden=4).eval()
    export(model, signature, tmp_path, ("onnx",))
    session = onnxruntime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    tokens = torch.randint(11, (5, 3))
    (scores,) = session.run(["scores"], {"tokens": tokens.numpy()})
    assert torch.allclose(torch.from_numpy(scores), model(tokens), atol=1e-5)


def remove_weights(folder: Path) -> None:
    (folder / "network.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    file = folder / "network.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def cut_description(folder: Path) -> None:
    (folder / "network.json").write_text('{"version": 1, ')


def other_version(folder: Path) -> None:
    about = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps(about | {"version": 99}))


def other_cell(folder: Path) -> None:
    about = json.loads((folder / "network.json").read_text())
    about["built"]["architecture"]["values"]["0>1"] = "none"
    (folder / "network.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_weights, "has no network.safetensors"),
        (cut_weights, "network.safetensors' is not readable"),
        (cut_description, "network.json' is not readable"),
        (other_version, "is of version 99"),
        (other_cell, "network.safetensors' is not readable"),
    ],
)
def test_damaged_exports_are_refused(
    network: nn.Module, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    export(network, SIGNATURE, tmp_path, ("safetensors",))
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_network(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_network_from_elsewhere_is_exported_but_not_rebuilt(tmp_path: Path) -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(63, 4))
    export(own, SIGNATURE, tmp_path, ("safetensors", "torch"))
    with pytest.raises(InputError, match="not built from a space"):
        load_network(tmp_path)


# The last training ---------------------------------------------------------------------------


def stripes() -> DataTask:
    """Horizontal or vertical stripes, in noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 2
    images = torch.randn(120, 1, 8, 8, generator=generator) * 0.3
    images[labels == 0, :, ::2] += 1
    images[labels == 1, :, :, ::2] += 1
    train, test = (TensorDataset(images[s], labels[s]) for s in (slice(80), slice(80, None)))
    return DataTask.from_datasets("stripes", train, test=test, classes=("flat", "upright"))


def test_winner_is_trained_on_all_but_the_test_and_looked_at_once() -> None:
    task = stripes()
    seen: list[dict[str, float]] = []
    network, final = train_final(
        task,
        SPACE,
        CELL,
        epochs=4,
        recipe=Recipe(batch_size=16),
        skeleton={"channels": 4, "cells": 1},
        progress=lambda epoch, metrics: seen.append(dict(metrics)),
    )
    assert final.metrics["test_accuracy"] > 0.9
    assert final.subject == SPACE.to_text(CELL)
    assert task.final_tests == [final]
    assert [set(metrics) for metrics in seen] == [{"train_loss"}] * 4
    assert not network.training
    scores = network(torch.stack([task._test[i][0] for i in range(40)]))  # type: ignore[index]
    right = [task._test[i][1] == int(s.argmax()) for i, s in enumerate(scores)]  # type: ignore[index]
    assert sum(right) / 40 == pytest.approx(final.metrics["test_accuracy"])
    again = train_final(
        stripes(), SPACE, CELL, epochs=4, recipe=Recipe(batch_size=16),
        skeleton={"channels": 4, "cells": 1},
    )[1]  # fmt: skip
    assert again.metrics == final.metrics


def test_the_last_training_refuses_what_it_cannot_test() -> None:
    with pytest.raises(InputError, match="has no data"):
        train_final(get("nasbench201/cifar10"), SPACE, CELL)
    task = stripes()
    without = DataTask.from_datasets("untested", task.train)
    with pytest.raises(InputError, match="has no test split"):
        train_final(without, SPACE, CELL)
    with pytest.raises(InputError, match="epochs 0"):
        train_final(task, SPACE, CELL, epochs=0)
    with pytest.raises(InputError, match="of space 'another'"):
        train_final(task, SPACE, type(CELL)("another", CELL.values))
    assert task.final_tests == []


def words(folder: Path) -> DataTask:
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text("one two three four two\n" * 120)
    task = get(str(folder))
    assert isinstance(task, DataTask)
    return task


@pytest.mark.parametrize("kind", ["images", "language"])
def test_a_killed_training_goes_on_to_the_same_end(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "training.checkpoint"
    task, space, arch = stripes(), SPACE, CELL
    how: dict[str, Any] = {
        "epochs": 4,
        "recipe": Recipe(batch_size=16, cutout=3),
        "skeleton": {"channels": 4, "cells": 1},
    }
    if kind == "language":
        space, task = spaces.get("darts-recurrent"), words(tmp_path)
        arch = space.sample(np.random.default_rng(0))
        dropped = {"input_dropout": 0.2, "hidden_dropout": 0.2}
        how = {"epochs": 4, "skeleton": {"hidden": 8, **dropped}}
    seen: list[int] = []

    def kill(epoch: int, metrics: object) -> None:
        seen.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    whole, once = train_final(task, space, arch, **how)
    with pytest.raises(KeyboardInterrupt):
        train_final(task, space, arch, **how, progress=kill, checkpoint=path)
    with pytest.raises(InputError, match="is of a run with seed 0; accepted: one with seed 1"):
        train_final(task, space, arch, **how, seed=1, checkpoint=path)
    resumed, test = train_final(
        task, space, arch, **how, progress=lambda e, _: seen.append(e), checkpoint=path
    )
    assert seen == [1, 2, 3, 4]
    assert test.metrics == once.metrics
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    again, _ = train_final(task, space, arch, **how, progress=kill, checkpoint=path)
    assert seen == [1, 2, 3, 4]  # nothing was left to train
    assert all(map(torch.equal, again.state_dict().values(), whole.state_dict().values()))


def test_measured_finalists_are_not_trained_again(tmp_path: Path) -> None:
    path, seen = tmp_path / "finalists.checkpoint", [0]
    archs = [SPACE.architecture((0, 0, 0, 3, 0, code)) for code in (0, 1, 2)]
    how: dict[str, Any] = {
        "epochs": 2,
        "recipe": Recipe(batch_size=16),
        "skeleton": {"channels": 4, "cells": 1},
    }

    def kill(epoch: int, metrics: object) -> None:
        seen[0] += 1
        if seen[0] == 5:  # in the third
            raise KeyboardInterrupt

    whole = compare_finalists(stripes(), SPACE, archs, **how)
    with pytest.raises(KeyboardInterrupt):
        compare_finalists(stripes(), SPACE, archs, **how, progress=kill, checkpoint=path)
    resumed = compare_finalists(stripes(), SPACE, archs, **how, progress=kill, checkpoint=path)
    assert seen == [7]
    assert [(a, m.metrics) for a, m in resumed] == [(a, m.metrics) for a, m in whole]


def test_finalists_are_ordered_by_validation_alone() -> None:
    task, nothing = stripes(), SPACE.architecture((0,) * 6)
    how: dict[str, Any] = {
        "recipe": Recipe(batch_size=16), "skeleton": {"channels": 4, "cells": 1}
    }  # fmt: skip
    found = compare_finalists(task, SPACE, [nothing, CELL], 4, **how)
    assert [arch for arch, _ in found] == [CELL, nothing]  # a cell of zeros can only guess
    first, second = (m.metrics["validation_accuracy"] for _, m in found)
    assert first > 0.9 > second
    assert task.final_tests == []
    alone = Training(task, SPACE, **how).evaluate(CELL, 4)
    assert alone.metrics == found[0][1].metrics
    with pytest.raises(InputError, match="has no test split"):
        compare_finalists(DataTask.from_datasets("untested", task.train), SPACE, [CELL])
    with pytest.raises(InputError, match="'average_after' is 5; accepted for finalists"):
        compare_finalists(task, SPACE, [CELL], recipe=Recipe(average_after=5))
    how["recipe"] = Recipe(learning_rate=1e30, gradient_clip=1e30, warmup=0.0)
    with pytest.raises(Stopped, match="all finalists failed; the first: loss is not finite"):
        compare_finalists(task, SPACE, [CELL], 3, **how)


def test_a_last_training_that_diverges_says_so() -> None:
    task = stripes()
    recipe = Recipe(learning_rate=1e30, gradient_clip=1e30, warmup=0.0)
    with pytest.raises(Stopped, match="loss is not finite"):
        train_final(task, SPACE, CELL, 3, recipe=recipe, skeleton={"channels": 4, "cells": 1})
    assert task.final_tests == []


def test_what_users_must_know_of_the_task() -> None:
    about = describe(get("digits"))
    assert about["classes"] == [str(i) for i in range(10)]
    assert about["preprocessing"]["scale"] == 1 / 16
    assert json.loads(json.dumps(about)) == about
    assert "classes" not in describe(get("nasbench201/cifar10"))


@pytest.mark.slow
def test_winner_on_digits_is_good() -> None:
    network, final = train_final(
        get("digits"), SPACE, SPACE.architecture((3, 3, 3, 1, 3, 2)), epochs=30
    )
    assert final.metrics["test_accuracy"] >= 0.985
    assert sum(p.numel() for p in network.parameters()) < 400_000
