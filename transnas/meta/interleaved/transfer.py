"""Transfer terms Omega(w_t, w_{t-1}): how stage t is tied to the stage before it.

All take the student's side, the teacher's side and the matched sets, and return a loss [] with
what is worth logging. Thresholds, bandwidths and spreads are never part of a graph: `constant`
takes them out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.meta.interleaved.matching import Matched
from transnas.meta.interleaved.mmd import Constant, block_mmd2, gram, half_mmd2
from transnas.meta.interleaved.settings import InterleaveSettings

__all__ = ["TERMS", "Logs", "Side", "Term", "pair_loss", "scaled", "threshold"]

Logs = dict[str, Tensor]
_FLOOR = 1e-4
"""Least spread of similarities, so that the sigmoid's temperature is never 0."""


class Side(NamedTuple):
    """One encoder as a transfer term sees it."""

    features: Callable[[Tensor], Tensor]
    """[B, C, H, W] -> pooled features [B, d]."""
    weights: Mapping[str, Tensor]
    """The weights that the shared architecture governs, by name."""
    project: Callable[[Tensor], Tensor]
    """The student's learnt linear map [B, d] -> [B, d]."""


class Term(Protocol):
    """A transfer term."""

    def __call__(
        self,
        student: Side,
        teacher: Side,
        matched: Matched,
        settings: InterleaveSettings,
        constant: Constant = Tensor.detach,
    ) -> tuple[Tensor, Logs]: ...


def match(
    student: Side,
    teacher: Side,
    matched: Matched,
    settings: InterleaveSettings,
    constant: Constant = Tensor.detach,
) -> tuple[Tensor, Logs]:
    """Return the loss of telling, as the teacher does, which sets are distributed alike.

    Pairs i < j of sets; y = 1 where MMD^2(Z_i, Z_j) of the teacher's features is below a
    threshold; the student's MMD^2 of the same sets is the classifier's score.
    """
    sides = (teacher.features(matched.teacher), student.features(matched.student))
    found = [_set_distances(z, matched.sets, settings, constant) for z in sides]
    loss, labels = pair_loss(*found[0], *found[1], settings.soft_labels, constant)
    with torch.no_grad():
        crossing = _pairs(matched.crosses().to(labels.device))
        positive = labels > 0.5
        logs = {
            "positive": labels.mean(),
            "crossing": (positive & crossing).sum().to(labels),
            "agreement": ((found[1][0] < found[1][1]) == positive).to(labels).mean(),
            "spread": sides[1].var(dim=0).mean(),
        }
    return loss, logs


def example(
    student: Side,
    teacher: Side,
    matched: Matched,
    settings: InterleaveSettings,
    constant: Constant = Tensor.detach,
) -> tuple[Tensor, Logs]:
    """Return the same loss on single examples: cosine similarity of each anchor's first view."""
    views = len(matched.student) // matched.sets
    found = []
    for side, images in ((teacher, matched.teacher), (student, matched.student)):
        z = F.normalize(side.features(images[::views]), dim=1)
        distances = _pairs(1.0 - z @ z.T)
        found.append((distances, constant(_median(distances))))
    loss, labels = pair_loss(*found[0], *found[1], settings.soft_labels, constant)
    return loss, {"positive": labels.mean()}


def distil(
    student: Side,
    teacher: Side,
    matched: Matched,
    settings: InterleaveSettings,
    constant: Constant = Tensor.detach,
) -> tuple[Tensor, Logs]:
    """Return the mean over images of |P z_student - z_teacher|^2."""
    target = teacher.features(matched.teacher)
    distance = student.project(student.features(matched.student)) - target
    return (distance * distance).sum(1).mean(), {}


def soft(
    student: Side,
    teacher: Side,
    matched: Matched,
    settings: InterleaveSettings,
    constant: Constant = Tensor.detach,
) -> tuple[Tensor, Logs]:
    """Return the mean squared distance of the weights that both have; images are not used."""
    total, count = torch.zeros(()), 0
    for name, weight in student.weights.items():
        other = teacher.weights.get(name)
        if other is not None and other.shape == weight.shape:
            total = total.to(weight) + ((weight - other) ** 2).sum()
            count += weight.numel()
    return total / max(1, count), {}


TERMS: Mapping[str, Term] = {"match": match, "example": example, "distil": distil, "soft": soft}


def scaled(z: Tensor) -> Tensor:
    """Return features [n, d] divided by the root of their mean squared norm: free of scale."""
    size = (z * z).sum(1).mean()
    return z / torch.where(size > 0, size, torch.ones_like(size)).sqrt()


def threshold(distances: Tensor, halves: Tensor, settings: InterleaveSettings) -> Tensor:
    """Return the value below which squared MMDs mean `alike`, out of the graph.

    `distances` are those of pairs of sets, `halves` [sets] those within a set.
    """
    if settings.threshold == "quantile":
        return _median(distances)
    if settings.threshold == "null":
        return torch.quantile(halves.detach(), 0.95)
    return torch.full_like(halves[0], float(settings.threshold_value or 0.0)).detach()


def pair_loss(
    teacher: Tensor,
    teacher_threshold: Tensor,
    student: Tensor,
    student_threshold: Tensor,
    soft: bool,
    constant: Constant = Tensor.detach,
) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy over pairs and the labels [pairs].

    Distances [pairs] below the threshold mean `alike`; `soft` labels are probabilities.
    """
    if soft:
        labels = torch.sigmoid((teacher_threshold - teacher) / constant(_temperature(teacher)))
    else:
        labels = (teacher < teacher_threshold).to(student)
    scores = (student_threshold - student) / constant(_temperature(student))
    return F.binary_cross_entropy_with_logits(scores, labels), labels


def _set_distances(
    z: Tensor, sets: int, settings: InterleaveSettings, constant: Constant
) -> tuple[Tensor, Tensor]:
    """Return the squared MMDs of all pairs of sets, and their threshold."""
    kernel = gram(scaled(z), settings.kernel_scale, constant)
    distances = _pairs(block_mmd2(kernel, sets))
    halves = half_mmd2(kernel, sets) if settings.threshold == "null" else distances[:1]
    return distances, constant(threshold(distances, halves, settings))


def _pairs(square: Tensor) -> Tensor:
    """Return the entries i < j of [n, n]."""
    rows, columns = torch.triu_indices(len(square), len(square), 1, device=square.device)
    return square[rows, columns]


def _median(values: Tensor) -> Tensor:
    return torch.quantile(values.detach(), 0.5)


def _temperature(values: Tensor) -> Tensor:
    return values.detach().std().clamp_min(_FLOOR)
