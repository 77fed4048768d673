"""Detection: torchvision's Faster R-CNN on the feature pyramid of a searched backbone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from transnas._errors import InputError
from transnas.networks._heads import FeatureStages
from transnas.tasks import Signature

__all__ = ["Detector"]

_LEVELS = 4
"""Stages that enter the pyramid: the last ones, or all of a backbone of three."""
_FEWEST = 3
_SMALL = 400
"""Below so many pixels a side objects are few and small: finer anchors, fewer proposals."""
_SMALLEST = 64
_ROI = 7


class _Pyramid(nn.Module):
    """The last stages as maps of equal channels, fine to coarse, with one pooled level more.

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, backbone: FeatureStages, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.out_channels = channels
        self.fpn = FeaturePyramidNetwork(
            list(backbone.channels[-_LEVELS:]), channels, LastLevelMaxPool()
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)[-_LEVELS:]
        found: dict[str, Tensor] = self.fpn(
            OrderedDict((str(i), f) for i, f in enumerate(features))
        )
        return found


class Detector(nn.Module):
    """Faster R-CNN (Ren et al., NeurIPS 2015) for images of one size, classes 0..outputs-1.

    `pyramid` channels; `head` units in both layers of the box head. Anchors are 8 strides wide, as
    published, and 4 and 6 strides at sizes below 400 pixels, in three shapes.
    """

    def __init__(
        self, backbone: FeatureStages, signature: Signature, pyramid: int, head: int
    ) -> None:
        super().__init__()
        height, width = signature.input_shape[1:]
        if min(height, width) < _SMALLEST or len(backbone.channels) < _FEWEST:
            raise InputError(
                f"images of {width}x{height} pixels are too small for a feature pyramid; accepted "
                f"for detection: {_SMALLEST} pixels a side or more (task option size)"
            )
        small = min(height, width) < _SMALL
        strides = [*backbone.strides[-_LEVELS:], 2 * backbone.strides[-1]]
        sizes = tuple((4 * s, 6 * s) if small else (8 * s,) for s in strides)
        classes = signature.outputs + 1  # 0 is background
        self.detector = FasterRCNN(
            _Pyramid(backbone, pyramid),
            min_size=min(height, width),
            max_size=max(height, width),
            image_mean=[0.0] * signature.input_shape[0],  # inputs are normalised already
            image_std=[1.0] * signature.input_shape[0],
            rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
            rpn_pre_nms_top_n_train=500 if small else 2000,
            rpn_post_nms_top_n_train=250 if small else 2000,
            rpn_pre_nms_top_n_test=300 if small else 1000,
            rpn_post_nms_top_n_test=150 if small else 1000,
            rpn_batch_size_per_image=128 if small else 256,
            box_batch_size_per_image=64 if small else 512,
            box_head=TwoMLPHead(pyramid * _ROI**2, head),
            box_predictor=FastRCNNPredictor(head, classes),
        )

    @property
    def dense(self) -> nn.Module:
        """The part whose work does not depend on what is in an image: backbone and pyramid."""
        part: nn.Module = self.detector.backbone
        return part

    def forward(self, images: Tensor, targets: Sequence[Mapping[str, Tensor]] | None = None) -> Any:
        """Return what is in `images` [B, C, H, W]; with `targets`, in training, the losses.

        A target is `boxes` float32 [n, 4] (x0, y0, x1, y1 in pixels) and `labels` int64 [n]; a
        result has `scores` [n] too, in falling order. The loss is a mapping of scalars.
        """
        if targets is None:
            return [
                {"boxes": f["boxes"], "labels": f["labels"] - 1, "scores": f["scores"]}
                for f in self.detector(list(images))
            ]
        shifted = [{"boxes": t["boxes"], "labels": t["labels"] + 1} for t in targets]
        return self.detector(list(images), shifted)
