"""The registry of network builders, and `build`, which every other room calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

from torch import nn

from transnas._errors import InputError, unknown
from transnas._registry import Registry
from transnas.spaces import Architecture, Space
from transnas.tasks import Signature

__all__ = [
    "Builder",
    "Origin",
    "build",
    "kinds",
    "names",
    "origin",
    "register",
    "skeleton_from",
    "suggest",
]

S = TypeVar("S")
B = TypeVar("B", bound="Builder")


class Builder(Protocol):
    """A function from an architecture to its network; its keywords are the skeleton."""

    def __call__(
        self, space: Space, arch: Architecture, signature: Signature, /, **skeleton: Any
    ) -> nn.Module: ...


Suggestion = Callable[[Signature], Mapping[str, Any]]


@dataclass(frozen=True)
class _Entry:
    build: Builder
    suggest: Suggestion
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """What a built network was built from: enough to build it again."""

    space: str
    architecture: str
    """JSON text of the architecture (`Space.to_json`)."""
    signature: Signature
    skeleton: Mapping[str, Any]


_BUILDERS: Registry[_Entry] = Registry("network for space", "transnas.networks", "networks")
names = _BUILDERS.names


def register(
    name: str,
    suggest: Suggestion = lambda signature: {},
    kinds: tuple[str, ...] = ("classification",),
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Return a decorator that enters a `Builder` for the space called `name`.

    `suggest` gives the skeleton for a signature when the user names none; by default the
    builder's own defaults. `kinds` are the kinds of task (`tasks.KINDS`) that it has heads for.
    """

    def enter(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _BUILDERS.register(name)(_Entry(builder, suggest, kinds))
        return builder

    return enter


def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of `arch`: [B, *signature.input_shape] -> [B, signature.outputs].

    Networks for detection and segmentation return what `_heads.attach` says. `skeleton` are
    settings that are not searched (channels, cells, ...); weights are drawn from torch's global
    generator. Raises `InputError` for an invalid architecture, a space without network or without
    one for the signature's kind, or an unknown skeleton setting.
    """
    space.validate(arch)
    entry = _BUILDERS.get(space.name)
    require_kind(space, signature)
    _check_skeleton(entry.build, skeleton)
    network = entry.build(space, arch, signature, **skeleton)
    network.__dict__["_origin"] = Origin(space.name, space.to_json(arch), signature, dict(skeleton))
    return network


def require_kind(space: Space, signature: Signature) -> None:
    """Raise `InputError` unless `space` builds networks for the signature's kind of task."""
    kind = signature.kind
    if kind not in kinds(space):
        able = [name for name in names() if kind in _BUILDERS.get(name).kinds]
        raise InputError(
            f"space {space.name!r} has no networks for {kind}; "
            f"accepted: {', '.join(able) or 'none'}"
        )


def kinds(space: Space) -> tuple[str, ...]:
    """Return the kinds of task that `space` builds networks for."""
    return _BUILDERS.get(space.name).kinds


def origin(network: nn.Module) -> Origin | None:
    """Return what `build` made `network` from; None for a network from elsewhere."""
    found = network.__dict__.get("_origin")
    return found if isinstance(found, Origin) else None


def suggest(space: Space, signature: Signature) -> dict[str, Any]:
    """Return the skeleton that suits inputs of this size, as keywords for `build`.

    Raises `InputError` for a space without network for the signature's kind.
    """
    require_kind(space, signature)
    return dict(_BUILDERS.get(space.name).suggest(signature))


def skeleton_from(cls: type[S], given: Mapping[str, Any]) -> S:
    """Return the dataclass `cls` from settings by name; raises `InputError` for an unknown one."""
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise unknown("skeleton setting", name, known)
    return cls(**given)


def positive(name: str, value: object) -> None:
    """Raise `InputError` unless the skeleton setting `name` is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"skeleton setting {name!r} is {value!r}; accepted: whole numbers from 1")


def share(name: str, value: object) -> None:
    """Raise `InputError` unless the skeleton setting `name` is a number from 0 to below 1."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise InputError(f"skeleton setting {name!r} is {value!r}; accepted: 0 up to below 1")


def flag(name: str, value: object) -> None:
    """Raise `InputError` unless the skeleton setting `name` is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"skeleton setting {name!r} is {value!r}; accepted: true, false")


def _check_skeleton(builder: Builder, skeleton: Mapping[str, Any]) -> None:
    parameters = inspect.signature(builder).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return  # the builder checks them itself, with `skeleton_from`
    known = [p.name for p in parameters][3:]
    for name in skeleton:
        if name not in known:
            raise unknown("skeleton setting", name, known)
