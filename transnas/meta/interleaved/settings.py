"""Every number of interleaved search, and the presets that name its variants.

*published*: told by the paper's reviews. *secondary*: quoted by a machine-written review, not
verified. *ours*: the sources do not say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

from transnas._errors import InputError, unknown
from transnas.evaluation.recipe import half_cosine
from transnas.strategies.settings import check_range, check_types

__all__ = ["PRESETS", "InterleaveSettings", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One variant: what an encoder learns from, and how it is tied to its predecessor."""

    says: str
    """What it is, in a line."""
    term: str = "match"
    """Name of the transfer term (`transfer.TERMS`); `none`: tasks share the architecture only."""
    labels_after_first: bool = True
    """Whether encoders of stages t > 1 learn from labels too (mu_t in the objective)."""
    one_encoder: bool = False
    """One encoder for all tasks (hard sharing)."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings whose defaults differ in this preset."""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "joint": Preset("labels and matched augmented sets in every stage"),
        "published": Preset(
            "later encoders learn from matched sets alone, as the reviews describe",
            labels_after_first=False,
            overrides={"match_every": 1, "transfer_weight": 1.0},
        ),
        "published-constants": Preset(
            "the same with threshold 5, 20 views and kernel scale 0.1 (secondary)",
            labels_after_first=False,
            overrides={
                "match_every": 1,
                "transfer_weight": 1.0,
                "views": 20,
                "threshold": "absolute",
                "threshold_value": 5.0,
                "kernel_scale": 0.1,
            },
        ),
        "soft": Preset("mean squared distance of the weights (soft sharing)", "soft"),
        "distil": Preset("features of the predecessor through a learnt linear map", "distil"),
        "example": Preset("similarity of single examples in place of sets", "example"),
        "none": Preset("the architecture is all that is shared", "none"),
        "hard": Preset("one encoder for all tasks", "none", one_encoder=True),
    }
)


_MATCHED = 0.15625
"""Matched images over training images where `match_every` is not given: 160 in 4 x 256."""
_OFTEN = 4
_LARGEST_MMD2 = 2.0


@dataclass(frozen=True)
class InterleaveSettings:
    """Settings of interleaved multi-task architecture search.

    Fields that default to None take the preset's value, else the one in their description.
    """

    preset: str = "joint"
    """joint, published, published-constants, soft, distil, example, none or hard."""
    method: str = "darts"
    """How logits become edge weights: darts, pc-darts, snas, gdas or proxyless."""
    partial: int = 4
    """pc_k: mixed edges see one channel in this many (pc-darts). Published: 4, ImageNet 2."""
    architecture: Literal["shared", "separate"] = "shared"
    """One architecture for all tasks (published), or one each (a control)."""
    rounds: int = 2
    """M: how often all tasks are visited in an outer iteration. Published: 2 beats 1."""
    steps: int = 1
    """J: weight steps in a stage. Ours."""
    epochs: int = 25
    """Epochs of the largest task; an outer iteration takes one batch of each task. Ours."""
    iterations: int | None = None
    """Outer iterations T; None: as many as `epochs` give."""
    order: Literal["fixed", "reverse", "random", "similar", "dissimilar"] = "fixed"
    """Order of the tasks within a round."""
    carry: bool = False
    """Whether the first stage of an iteration has the last one's last task as predecessor."""
    alpha_first: bool = False
    """Whether the architecture moves before the stages of an iteration, as in DARTS."""
    alpha_schedule: Literal["interleaved", "posthoc"] = "interleaved"
    """posthoc: all weight steps first, under the initial architecture, then only its steps."""
    warmup: float = 0.0
    """Share of the iterations in which the architecture rests (published for PC-DARTS: 0.3)."""
    updates: Literal["interleaved", "summed"] = "interleaved"
    """summed: no stages; a round is one step on the sum of all tasks' losses (preset hard)."""
    init_from: Literal["own", "predecessor", "predecessor_always"] = "own"
    """Where an encoder's weights start: at random, from the predecessor's at its first stage,
    or from those at every stage (sequential fine-tuning)."""

    transfer_weight: float | None = None
    """lambda: weight of the transfer term; 0.1, published preset 1, none without term. Ours."""
    transfer_ramp: float = 0.1
    """Share of the iterations over which lambda rises from 0. Ours."""
    match_every: int | None = None
    """A stage has the transfer term every so many steps, staggered. None: so rarely that matched
    images are a sixth of the training images, which are 4 steps with batches of 256, and 16 with
    64; at least 4. Ours."""
    anchors: int | None = None
    """Examples of each of the two tasks; 10. Published."""
    sources: Literal["both", "previous", "current"] = "both"
    """Which tasks the examples come from. Published: both."""
    views: int | None = None
    """r: augmentations of an example; 8. Ours (secondary: 20)."""
    threshold: Literal["quantile", "null", "absolute"] | None = None
    """How MMD becomes a label: below its median over pairs (default), below what augmentation
    alone produces, or below `threshold_value`."""
    threshold_value: float | None = None
    """For `absolute`. Secondary: 5, which every pair is below."""
    kernel_scale: float | None = None
    """Squared bandwidth of one Gaussian kernel; None: five around the median distance."""
    soft_labels: bool = False
    """Whether labels are probabilities, which have a gradient, and not 0 or 1."""

    paths: str = "direct"
    """Gradient paths into the architecture: direct, last or chain:P."""
    hvp: Literal["exact", "fd"] = "exact"
    """Hessian-vector products of `last`: double backward, or finite differences."""
    normalise: Literal["chance", "initial", "ema", "none", "gradnorm"] = "chance"
    """How validation losses are made comparable."""
    balance: Literal["equal", "uncertainty", "pcgrad"] = "equal"
    """How the tasks' architecture gradients are joined."""

    hyper: Literal["off", "chunked", "film"] = "off"
    """Whether a hypernetwork generates the cells' weights from the architecture."""
    hyper_chunk: int = 4096
    """q: weights generated at once (chunked)."""
    hyper_hidden: int = 64
    """h: hidden units."""
    hyper_path: bool = True
    """Whether the architecture's gradient includes the way through the hypernetwork."""

    batch_size: int = 64
    """Images of a task in a step."""
    learning_rate: float = 0.025
    """Of weights (SGD) at first; half a cosine leads to `least_learning_rate`. As DARTS."""
    least_learning_rate: float = 0.001
    """Of weights at the end. As DARTS."""
    momentum: float = 0.9
    """Of weights. As DARTS."""
    weight_decay: float = 3e-4
    """Of weights. As DARTS."""
    gradient_clip: float = 5.0
    """Largest norm of a step's gradient. As DARTS."""
    logits_learning_rate: float = 3e-4
    """Of logits (Adam, betas 0.5 and 0.999). As DARTS."""
    logits_decay: float = 1e-3
    """Of logits. As DARTS."""
    divergence: float = 100.0
    """A task diverges when its loss exceeds this many times its chance level, or is not finite."""
    strikes: int = 3
    """Divergences after which a task is dropped; each before halves its learning rate and its
    weight in the architecture's gradient. Ours."""
    offload: bool = False
    """Whether encoders other than a stage's two wait in main memory; with `paths` direct and
    encoders of the tasks' own."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        if self.preset not in PRESETS:
            raise unknown("preset", self.preset, PRESETS)
        preset = PRESETS[self.preset]
        if preset.term == "none" and self.transfer_weight:
            raise InputError(
                f"transfer_weight is {self.transfer_weight:g} with preset {self.preset!r}, which "
                "transfers nothing; accepted: 0, or another preset"
            )
        later = {
            "transfer_weight": 0.0 if preset.term == "none" else 0.1,
            "anchors": 10,
            "views": 8,
            "threshold": "quantile",
            "threshold_value": 5.0,
            "kernel_scale": None,
            **preset.overrides,
        }
        for name, value in later.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.match_every is None:
            object.__setattr__(self, "match_every", self._affordable())
        self._check()

    def _affordable(self) -> int:
        """Return every how many steps the matched images are a share of all, at most."""
        assert self.anchors is not None
        assert self.views is not None
        if self.batch_size < 1 or self.variant.term == "soft":
            return _OFTEN
        images = 2 * self.anchors * self.views
        return max(_OFTEN, math.ceil(images / (_MATCHED * self.batch_size)))

    def _check(self) -> None:
        check_range(self, "partial", "rounds", "steps", "epochs", "iterations", least=1)
        check_range(self, "match_every", "anchors", least=1)
        check_range(self, "hyper_chunk", "hyper_hidden", "strikes", least=1)
        check_range(self, "views", "batch_size", least=2)
        check_range(self, "transfer_ramp", "warmup", "momentum", least=0, most=1)
        check_range(self, "learning_rate", "least_learning_rate", "logits_learning_rate", least=0)
        check_range(self, "weight_decay", "logits_decay", least=0)
        check_range(self, "gradient_clip", above=0)
        check_range(self, "transfer_weight", least=0)
        check_range(self, "divergence", least=1)
        self._check_matching()
        self._check_paths()
        if self.variant.one_encoder:
            self._check_one_encoder()
        elif self.updates == "summed":
            raise InputError(
                f"updates is 'summed' with preset {self.preset!r}, whose encoders are private; "
                "accepted: interleaved, or preset 'hard'"
            )

    def _check_matching(self) -> None:
        assert self.anchors is not None
        if self.threshold == "null" and self.views is not None and self.views < 4:
            raise InputError(f"views is {self.views} with threshold 'null'; accepted: 4 or more")
        # A spread over pairs of sets takes two pairs, so three sets.
        least = 2 if self.sources == "both" else 3
        if self.variant.term in ("match", "example") and self.anchors < least:
            raise InputError(
                f"anchors is {self.anchors} with sources {self.sources!r}, which leaves one pair "
                f"of sets at most; accepted: whole numbers from {least}"
            )
        check_range(self, "threshold_value")
        check_range(self, "kernel_scale", above=0)

    def _check_paths(self) -> None:
        depth = self.chain_depth
        if depth and self.hvp == "fd":
            raise InputError("hvp is 'fd' with paths 'chain'; accepted: exact, or paths 'last'")
        if self.paths != "direct" and self.hyper != "off":
            raise InputError(
                f"paths is {self.paths!r} with a hypernetwork; accepted: direct, because the "
                "hypernetwork stands for the weights' dependence on the architecture"
            )
        first = "alpha_first" if self.alpha_first else f"alpha_schedule {self.alpha_schedule!r}"
        if self.paths != "direct" and (self.alpha_first or self.alpha_schedule == "posthoc"):
            raise InputError(
                f"paths is {self.paths!r} with {first}, where no stage of the iteration comes "
                "before the architecture's step; accepted: direct"
            )
        if self.paths != "direct" and self.offload:
            raise InputError(
                f"paths is {self.paths!r} with offload, although each recorded step keeps its "
                "weights on the device; accepted: direct, or offload false"
            )
        labelled = self.variant.term in ("match", "example")
        if depth and (self.variant.term == "none" or (labelled and not self.soft_labels)):
            raise InputError(
                f"paths is {self.paths!r} with preset {self.preset!r} and soft_labels "
                f"{self.soft_labels}, where no gradient reaches a predecessor; accepted: last, "
                "preset 'soft' or 'distil', or a preset of matched sets with soft_labels true"
            )

    def _check_one_encoder(self) -> None:
        for name, accepted in (
            ("paths", "direct"), ("hyper", "off"), ("architecture", "shared"), ("offload", False)
        ):  # fmt: skip
            given = getattr(self, name)
            if given != accepted:
                raise InputError(
                    f"{name} is {given!r} with preset {self.preset!r}; accepted: {accepted}"
                )

    @property
    def variant(self) -> Preset:
        """What `preset` names."""
        return PRESETS[self.preset]

    @property
    def chain_depth(self) -> int:
        """P of `chain:P`: how many predecessors the gradient passes through; else 0."""
        kind, _, depth = self.paths.partition(":")
        if kind == "chain" and depth.isdecimal() and int(depth) > 0:
            return int(depth)
        if self.paths not in ("direct", "last"):
            raise InputError(f"paths is {self.paths!r}; accepted: direct, last, chain:P")
        return 0

    def remarks(self) -> list[str]:
        """Return what is known of these settings before a search: a sentence each."""
        value = self.threshold_value
        if self.variant.term != "match" or self.threshold != "absolute" or value is None:
            return []
        if 0.0 < value < _LARGEST_MMD2:
            return []
        every = "alike" if value > 0 else "different"
        return [
            f"threshold_value {value:g} lies outside of what a squared MMD can be between two "
            f"sets (kernels in (0, 1]: below {_LARGEST_MMD2:g}), so all pairs of sets are called "
            f"{every} and the transfer carries no knowledge; the published 5 must be of another "
            "statistic"
        ]

    def rate(self, done: float) -> float:
        """Return the learning rate of the weights when this share of the iterations is done."""
        return half_cosine(self.learning_rate, self.least_learning_rate, done)

    def transfer_at(self, done: float) -> float:
        """Return lambda when this share of the iterations (above 0) is done."""
        assert self.transfer_weight is not None
        if self.variant.term == "none":
            return 0.0
        return self.transfer_weight * (
            min(1.0, done / self.transfer_ramp) if self.transfer_ramp else 1
        )

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings."""
        return [f.name for f in fields(cls)]
