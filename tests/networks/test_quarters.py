"""The pixels of a map by parity."""

from __future__ import annotations

import pytest
import torch

from transnas.networks._quarters import joined_quarters, quarters

FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("size", [(6, 4), (5, 7), (1, 1), (2, 3)])
def test_quarters_are_strided_slices_and_join_again(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    x = torch.randn(3, 4, *size).contiguous(memory_format=memory_format)
    padded = torch.nn.functional.pad(x, (0, size[1] % 2, 0, size[0] % 2))
    parts = quarters(x)
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for part, (row, column) in zip(parts.chunk(4), places, strict=True):
        assert torch.equal(part, padded[:, :, row::2, column::2])
    assert torch.equal(joined_quarters(parts, *size), x)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients_keep_the_memory_format(memory_format: torch.memory_format) -> None:
    x = torch.randn(3, 4, 6, 8).contiguous(memory_format=memory_format).requires_grad_()
    parts = quarters(x.relu()).chunk(4)
    assert parts[3].is_contiguous(memory_format=memory_format)
    (gradient,) = torch.autograd.grad((parts[0] + 2 * parts[3]).sum(), x)
    assert gradient.is_contiguous(memory_format=memory_format)
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2], expected[:, :, 1::2, 1::2] = 1, 2
    assert torch.equal(gradient, expected * (x > 0))
