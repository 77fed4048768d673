"""Meta-training on class subsets of a data set that are really trained."""

from __future__ import annotations

import pytest
import torch

from transnas import InputError, spaces, tasks
from transnas.evaluation.training import Recipe
from transnas.meta.catch import CatchSettings, SubsetFamily, meta_train
from transnas.tasks import DataTask

SPACE = spaces.get("nasbench201")
SMALL = {"channels": 4, "cells": 1}


@pytest.fixture(scope="module")
def digits() -> DataTask:
    task = tasks.get("digits")
    assert isinstance(task, DataTask)
    return task


def test_a_subset_has_the_images_of_its_classes_relabelled(digits: DataTask) -> None:
    family = SubsetFamily(digits, SPACE, (2, 4))
    task = family.task(3, 1)
    chosen = [digits.classes.index(c) for c in task.classes]
    assert len(chosen) in (2, 4)
    assert task.signature.outputs == len(chosen)
    for ours, base in ((task.train, digits.train), (task.validation, digits.validation)):
        assert torch.bincount(ours.labels).tolist() == [
            int((base.labels == c).sum()) for c in chosen
        ]
        image, label = ours[len(ours) - 1]
        places = torch.nonzero(base.labels == chosen[label]).flatten().tolist()
        assert any(torch.equal(image, base[i][0]) for i in places)
    again = family.task(3, 1)
    assert again.classes == task.classes
    assert len({family.task(3, epoch).classes for epoch in range(8)}) > 4
    assert not task.has_test


@pytest.mark.slow
def test_meta_training_really_trains(digits: DataTask) -> None:
    family = SubsetFamily(digits, SPACE, (2,), Recipe(epochs=1), "cpu", SMALL)
    settings = CatchSettings(hidden=8, candidates=8, updates=2, policy_updates=1, initial=2)
    trained = meta_train(family, SPACE, [0], settings, epochs=2, queries=3)
    assert trained.prior().learnt_from["base"] == "digits"


def test_subsets_that_cannot_be_are_refused(digits: DataTask) -> None:
    for n_classes in ((), (1,), (2, 11)):
        with pytest.raises(InputError, match="n_classes"):
            SubsetFamily(digits, SPACE, n_classes)
