"""Builds architectures in PyTorch: operations, cells, skeletons. One file for each space."""

from transnas.networks._mixed import MixedEdges
from transnas.networks._registry import (
    Builder,
    Origin,
    build,
    kinds,
    names,
    origin,
    register,
    skeleton_from,
    suggest,
)
from transnas.networks._supernet import (
    Form,
    Operation,
    Supernet,
    register_supernet,
    supernet,
    supernets,
)

__all__ = [
    "Builder",
    "Form",
    "MixedEdges",
    "Operation",
    "Origin",
    "Supernet",
    "build",
    "kinds",
    "names",
    "origin",
    "register",
    "register_supernet",
    "skeleton_from",
    "suggest",
    "supernet",
    "supernets",
]
