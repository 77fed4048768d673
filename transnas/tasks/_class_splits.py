"""Which classes of CIFAR-100 and Omniglot the published few-shot protocols test on.

FC100: Oreshkin et al., "TADAM", NeurIPS 2018, by superclass of CIFAR-100. CIFAR-FS: Bertinetto et
al., ICLR 2019, by class. Omniglot by alphabet follows Lake et al. (Science, 2015), who keep 20
alphabets for evaluation; its validation alphabets are ours. Omniglot by character is the split of
Finn et al., "Model-Agnostic Meta-Learning", ICML 2017: 1,100 / 100 / 423 characters, shuffled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from transnas.tasks._split import Array

__all__ = ["by_alphabet", "by_character", "by_share", "cifar_fs", "fc100"]

Splits = dict[str, tuple[int, ...]]

_FC100_TEST = """
    beaver dolphin otter seal whale  bee beetle butterfly caterpillar cockroach
    fox porcupine possum raccoon skunk  baby boy girl man woman
"""
"""Aquatic mammals, insects, medium mammals, people."""
_FC100_VALIDATION = """
    bear leopard lion tiger wolf  camel cattle chimpanzee elephant kangaroo
    crab lobster snail spider worm  hamster mouse rabbit shrew squirrel
"""
"""Large carnivores, large herbivores, invertebrates that are no insects, small mammals."""
_CIFAR_FS_TEST = """
    whale poppy rose sweet_pepper telephone bed table wardrobe leopard plain chimpanzee fox snail
    worm baby man woman bicycle pickup_truck rocket
"""
_CIFAR_FS_VALIDATION = """
    beaver otter flatfish shark lamp television beetle butterfly sea camel cattle crab crocodile
    maple_tree motorcycle tractor
"""
_VALIDATION_ALPHABETS = (
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
)
_CHARACTERS = (1100, 100)


def _split(names: Sequence[str], validation: Collection[str], test: Collection[str]) -> Splits:
    """Return the indices of each split's names; what neither list names trains."""
    return {
        "train": tuple(i for i, n in enumerate(names) if n not in validation and n not in test),
        "validation": tuple(i for i, n in enumerate(names) if n in validation),
        "test": tuple(i for i, n in enumerate(names) if n in test),
    }


def fc100(names: Sequence[str]) -> Splits:
    """Return the splits of FC100, whole superclasses each: 60 / 20 / 20 classes."""
    return _split(names, _FC100_VALIDATION.split(), _FC100_TEST.split())


def cifar_fs(names: Sequence[str]) -> Splits:
    """Return the splits of CIFAR-FS: 64 / 16 / 20 classes."""
    return _split(names, _CIFAR_FS_VALIDATION.split(), _CIFAR_FS_TEST.split())


def by_alphabet(alphabets: Sequence[str], background: Array) -> Splits:
    """Return Omniglot's splits by alphabet, 813 / 151 / 659 characters.

    `alphabets` [1623] and `background` [1623] are of each character.
    """
    test = {a for a, b in zip(alphabets, background.tolist(), strict=True) if not b}
    return _split(alphabets, _VALIDATION_ALPHABETS, test)


def by_character(count: int, seed: int) -> Splits:
    """Return Omniglot's splits by character: 1,100 / 100 / the rest, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    train, validation = _CHARACTERS
    return {
        "train": tuple(order[:train]),
        "validation": tuple(order[train : train + validation]),
        "test": tuple(order[train + validation :]),
    }


def by_share(count: int, seed: int) -> Splits:
    """Return a split of `count` classes like mini-ImageNet's, 64 / 16 / 20 in a hundred."""
    order = np.random.default_rng(seed).permutation(count).tolist()
    first, second = round(0.64 * count), round(0.8 * count)
    return {
        "train": tuple(order[:first]),
        "validation": tuple(order[first:second]),
        "test": tuple(order[second:]),
    }
