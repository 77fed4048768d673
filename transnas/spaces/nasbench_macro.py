"""NAS-Bench-Macro (Su et al., CVPR 2021): eight layers, three blocks each, 6,561 chains."""

from __future__ import annotations

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Space
from transnas.spaces._registry import register

__all__ = ["NASBenchMacro"]

BLOCKS = ("identity", "mb3_k3", "mb6_k5")


@register("nasbench-macro")
class NASBenchMacro(Space):
    """Chains of 8 layers; text is the benchmark's digits, such as `22212220`."""

    name = "nasbench-macro"
    choices = tuple(Choice(f"layer {i + 1}", BLOCKS) for i in range(8))

    def to_text(self, arch: Architecture) -> str:
        """Return eight digits: 0 identity, 1 mb3_k3, 2 mb6_k5."""
        return "".join(map(str, arch.values))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        text = text.strip()
        if len(text) != len(self.choices) or not set(text) <= set("012"):
            raise InputError(
                f"architecture text {text!r} is not readable; accepted: 8 digits of "
                "0 identity, 1 mb3_k3, 2 mb6_k5"
            )
        return self.architecture([int(c) for c in text])
