"""What stands on a backbone: one head for each kind of task, whatever the space.

A space whose builder makes a `FeatureStages` gets networks for every kind with `attach`.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from transnas.tasks import Signature

__all__ = [
    "KINDS",
    "Classifier",
    "FeatureStages",
    "Segmenter",
    "attach",
    "backbone_of",
    "put_backbone",
]


KINDS = ("classification", "detection", "segmentation")
"""Kinds of task that a backbone's features serve."""


class FeatureStages(Protocol):
    """A module from images to the features of its stages, coarser and coarser."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, x: Tensor) -> list[Tensor]: ...


def attach(
    backbone: FeatureStages, signature: Signature, pyramid: int = 256, head: int = 1024
) -> nn.Module:
    """Return the network of the signature's kind on `backbone`.

    - classification: [B, C, H, W] -> scores [B, outputs];
    - segmentation: -> scores of each pixel [B, outputs, H, W];
    - detection: see `_detector.Detector`; `pyramid` channels, `head` units in the box head.

    Raises `InputError` for a detection input too small for the pyramid.
    """
    if signature.kind == "segmentation":
        return Segmenter(backbone, signature.outputs)
    if signature.kind == "detection":
        from transnas.networks._detector import Detector  # torchvision's detectors load slowly

        return Detector(backbone, signature, pyramid, head)
    return Classifier(backbone, signature.outputs)


def backbone_of(network: nn.Module) -> Any:
    """Return the backbone that `attach` put a head on."""
    return _owner(network).backbone


def put_backbone(network: nn.Module, backbone: nn.Module) -> None:
    """Let the head of a network made by `attach` stand on another backbone of equal channels."""
    _owner(network).backbone = backbone


def _owner(network: nn.Module) -> Any:
    detector = getattr(network, "detector", None)
    return network if detector is None else detector.backbone


class Classifier(nn.Module):
    """Mean over the last stage's map, and a linear layer."""

    def __init__(self, backbone: FeatureStages, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        out: Tensor = self.head(self.backbone(x)[-1].mean(dim=(2, 3)))
        return out


class Segmenter(nn.Module):
    """A fully convolutional head on the last stage, enlarged to the image's size.

    Long, Shelhamer & Darrell, "Fully Convolutional Networks", CVPR 2015, with the head's layers
    as in torchvision. As there, a finer map (here of the first stage) is scored too and added, so
    that edges and small things survive at small sizes.
    """

    def __init__(self, backbone: FeatureStages, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        channels, middle = backbone.channels[-1], max(32, backbone.channels[-1] // 4)
        self.head = nn.Sequential(
            nn.Conv2d(channels, middle, 3, padding=1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(middle, outputs, 1),
        )
        self.fine = nn.Conv2d(backbone.channels[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs, H, W]."""
        features = self.backbone(x)
        fine = self.fine(features[0])
        coarse = _enlarged(self.head(features[-1]), fine)
        return _enlarged(coarse + fine, x)


def _enlarged(scores: Tensor, like: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(
        scores, size=like.shape[-2:], mode="bilinear", align_corners=False
    )
