"""Builds architectures in PyTorch: operations, cells, skeletons. One file for each space."""

from transnas.networks._registry import (
    Builder,
    Origin,
    build,
    names,
    origin,
    register,
    skeleton_from,
    suggest,
)

__all__ = [
    "Builder",
    "Origin",
    "build",
    "names",
    "origin",
    "register",
    "skeleton_from",
    "suggest",
]
