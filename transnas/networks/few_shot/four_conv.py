"""The four-convolution network that few-shot methods share (Vinyals et al., NeurIPS 2016)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from transnas.networks._registry import positive
from transnas.networks.few_shot._functional import Norm, Params, conv, linear
from transnas.networks.few_shot._network import HEAD, FewShotNetwork
from transnas.tasks import Signature

__all__ = ["FourConv"]

_LAYERS = 4


class FourConv(FewShotNetwork):
    """Four times convolution 3x3, batch normalisation, ReLU, max pooling; then one linear layer.

    Published widths: 64 filters on Omniglot (112,261 parameters for 5 classes), 32 on
    mini-ImageNet (32,901), 48 in MAML++. A map of one pixel is not pooled any more.
    """

    def __init__(self, signature: Signature, filters: int = 64) -> None:
        super().__init__(signature)
        positive("filters", filters)
        channels, height, width = signature.input_shape
        self.pools = []
        for layer in range(_LAYERS):
            self.shapes[f"layers.{layer}.weight"] = (filters, channels, 3, 3)
            self.shapes[f"layers.{layer}.bias"] = (filters,)
            self._affine(f"layers.{layer}.norm", filters)
            self.pools.append(min(height, width) > 1)
            if self.pools[-1]:
                height, width = height // 2, width // 2
            channels = filters
        self._linear(filters * height * width)

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        for layer, pools in enumerate(self.pools):
            name = f"layers.{layer}"
            x = conv(x, params[f"{name}.weight"], params[f"{name}.bias"], padding=1)
            scale, shift = params[f"{name}.norm.scale"], params[f"{name}.norm.shift"]
            x = norm(f"{name}.norm", x, scale, shift)
            # ReLU and pooling change places: the same, and a quarter of the numbers to rectify.
            x = F.relu(F.max_pool2d(x, 2) if pools else x)
        return linear(x.flatten(1), params[f"{HEAD}weight"], params[f"{HEAD}bias"])
