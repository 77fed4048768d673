"""Small networks, states and episodes for the tests of few-shot methods."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.meta.few_shot import State
from transnas.networks.few_shot import FewShotNetwork, Norm, Params
from transnas.tasks import Signature
from transnas.tasks.episodes import EpisodeBatch


class Smooth(FewShotNetwork):
    """Two convolutions with softplus and batch statistics: differentiable everywhere."""

    def __init__(self, signature: Signature, width: int = 3) -> None:
        super().__init__(signature)
        self.shapes = {
            "one.weight": (width, signature.input_shape[0], 3, 3),
            "one.norm.scale": (width,),
            "one.norm.shift": (width,),
            "two.weight": (width, width, 3, 3),
            "head.weight": (signature.outputs, width),
            "head.bias": (signature.outputs,),
        }

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        tasks = len(params["head.bias"])
        x = F.conv2d(x, params["one.weight"].flatten(0, 1), padding=1, groups=tasks)
        x = F.softplus(norm("one.norm", x, params["one.norm.scale"], params["one.norm.shift"]))
        x = F.softplus(F.conv2d(x, params["two.weight"].flatten(0, 1), padding=1, groups=tasks))
        features = x.mean(dim=(2, 3)).view(len(x), tasks, -1)
        return (
            torch.einsum("nbf,bkf->bnk", features, params["head.weight"])
            + params["head.bias"][:, None]
        )


def episodes(
    tasks: int, shape: tuple[int, ...], way: int = 3, shot: int = 2, query: int = 2, seed: int = 0
) -> EpisodeBatch:
    """Return random float64 episodes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(way).repeat(tasks, count)
        noise = torch.randn(tasks, way * count, *shape, generator=generator, dtype=torch.float64)
        return noise, labels

    (xs, ys), (xq, yq) = draw(shot), draw(query)
    return EpisodeBatch(xs, ys, xq, yq, 0, ys[:, :way], ys)


def in_double(state: State) -> State:
    """Turn a state's parameters into float64, moved a little so that none is at a special point."""
    generator = torch.Generator().manual_seed(9)
    for value in state.meta.values():
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        value.data = value.data.double() + 0.05 * noise
    return state
