"""Main memory and an accelerator on a machine without one: what mixes the two raises, as there.

`ACCELERATOR` is the CPU under another name; what is moved to it, or back, is noted by its storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ACCELERATOR = torch.device("cpu", 0)
_BETWEEN = ("aten.copy_", "aten.index", "aten.detach")
"""Operations that a real accelerator allows tensors of both for (indices may be in main memory)."""


class _Places:
    """Whether a tensor's storage is on the accelerator; None: made where nobody said."""

    def __init__(self) -> None:
        self._on: dict[int, bool] = {}
        self._kept: list[torch.UntypedStorage] = []  # so that no address is used twice
        self.moving = False

    def of(self, tensor: Tensor) -> bool | None:
        return self._on.get(tensor.untyped_storage()._cdata)

    def note(self, tensor: Tensor, on: bool) -> Tensor:
        self._on[tensor.untyped_storage()._cdata] = on
        self._kept.append(tensor.untyped_storage())
        return tensor


class _Moves(TorchFunctionMode):
    """`Tensor.to` copies from one memory to the other; `Tensor.device` says where it went."""

    def __init__(self, places: _Places) -> None:
        super().__init__()
        self._places = places

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        places = self._places
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], torch.device):
            on = args[1] == ACCELERATOR
            if places.of(args[0]) is on:
                return args[0]
            places.moving = True
            try:
                return places.note(args[0].clone(), on)
            finally:
                places.moving = False
        if func == torch.Tensor.device.__get__ and places.of(args[0]):  # type: ignore[attr-defined]
            return ACCELERATOR
        return func(*args, **(kwargs or {}))


class _Mixtures(TorchDispatchMode):
    """Raises where an operation reads from both memories; numbers [] are free."""

    def __init__(self, places: _Places) -> None:
        super().__init__()
        self._places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._places.moving or str(func).startswith(_BETWEEN):
            return out
        read = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim]
        places = {self._places.of(t) for t in read} - {None}
        if len(places) > 1:
            raise RuntimeError(f"{func} mixes memories: {[tuple(t.shape) for t in read]}")
        for made in tree_leaves(out):
            if places and isinstance(made, Tensor) and self._places.of(made) is None:
                self._places.note(made, True in places)
        return out


@contextmanager
def two_memories() -> Iterator[None]:
    """Tell the two memories apart inside."""
    places = _Places()
    with ExitStack() as stack:
        stack.enter_context(_Moves(places))
        stack.enter_context(_Mixtures(places))
        yield
