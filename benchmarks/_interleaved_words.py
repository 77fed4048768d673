"""What the page of interleaved search says in words, and how it groups the rows."""

from __future__ import annotations

__all__ = ["BEFORE", "COLOUR", "COLOUR_ROWS", "GROUPS", "LIMITS", "SAYS"]

BEFORE = """# Interleaved multi-task search beside its baselines

Five tasks learn in turn, for M rounds, with one architecture (a NAS-Bench-201 cell): USPS, MNIST,
notMNIST and Fashion-MNIST as relatives, textures (DTD, ten classes) as the outlier; grey, 12x12
pixels, 400 training images each. A supernet of 8 channels and one cell a stage is searched; the
derived network (8 channels, one cell a stage) is then trained anew on each task for 8 epochs and
looks at test data once. Every search sees the same number of images (matched images of the
transfer come on top, and are in the CPU seconds), all rows of a seed share data and streams.
Intervals are 95 % t-intervals over seeds; differences are paired by seed and averaged over tasks:
`− separate` to one search a task, `− alone` to `none, M=1`, where only the architecture is shared.

`python benchmarks/interleaved.py evidence`, `colour`, `cells`, `cost`, `mixed` and `similarity`
measure this page, each row of it going on where it stopped, and
`python benchmarks/_interleaved_page.py` writes it from what there is; the column `seeds` says how
much that is.
"""

SAYS = {
    "interleaved": "joint, M=2, matched sets",
    "separate": "a plain search on each task",
    "joint": "one encoder, summed losses",
    "transferred": "searched on one task, used for all",
    "random": "one drawn cell",
    "by hand": "residual block, as large",
    "phase 2 interleaved": "the found cell's networks trained in turn, with transfer",
    "random, phase 2 interleaved": "the same with the random cell",
    "none": "no transfer, M=2",
    "none, M=1": "no transfer: only the architecture is shared",
    "published": "later encoders learn from matched sets alone",
    "soft": "squared distance of weights",
    "distil": "squared distance of features",
    "example": "similarity of single examples",
    "initialised": "weights start from the predecessor's, no term",
    "fine-tuned": "weights copied at every stage, no term",
}

GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Against the baselines",
        "Test accuracy in percent. The last two columns are of the search: CPU seconds, and images "
        "seen without the matched ones.",
        ("interleaved", "separate", "joint", "transferred", "random", "by hand",
         "phase 2 interleaved", "random, phase 2 interleaved"),
    ),
    (
        "Kinds of transfer",
        "At M=2 unless said otherwise.",
        ("interleaved", "none", "none, M=1", "published", "soft", "distil", "example",
         "initialised", "fine-tuned"),
    ),
    (
        "Rounds",
        "M + 1 batches of each task an iteration; fewer iterations for a larger M, so that images "
        "are equal, and with them fewer steps of the architecture.",
        ("M=1", "interleaved", "M=3", "M=4"),
    ),
    (
        "Hypernetwork",
        "Kernels of the cells generated from the architecture, at equal steps.",
        ("interleaved", "hypernetwork, chunked", "hypernetwork, film"),
    ),
    (
        "Order of the tasks",
        "The given order ends with the outlier.",
        ("interleaved", "outlier first", "order similar", "order dissimilar", "order random"),
    ),
    (
        "With and without the outlier",
        "The mean is over the row's own tasks.",
        ("interleaved", "without outlier"),
    ),
    (
        "Balances and normalisations of the validation losses",
        "The method divides each loss by that of the best constant predictor and adds them.",
        ("interleaved", "uncertainty", "pcgrad", "normalised by first loss",
         "normalised by running mean", "not normalised", "normalised gradients"),
    ),
    (
        "Further settings",
        "λ = 0.1, 4 + 4 anchors, 8 views and the median threshold in the method. `published "
        "constants` (threshold 5 on a statistic below 2) makes every label equal: it warns.",
        ("interleaved", "lambda 0.03", "lambda 0.3", "lambda 1", "threshold null",
         "published constants", "2 anchors", "10 anchors", "4 views", "16 views",
         "last step unrolled", "post hoc"),
    ),
)  # fmt: skip

COLOUR = """
## A set in colour

The same for ten classes each of CIFAR-10, CIFAR-100, mini-ImageNet and textures (DTD), with traffic
signs (GTSRB) as the outlier; 16x16 pixels, at most 400 training images each
(`python benchmarks/interleaved.py colour`).
"""
COLOUR_ROWS = ("interleaved", "separate", "joint", "transferred", "random", "by hand",
               "phase 2 interleaved", "random, phase 2 interleaved", "none", "none, M=1", "soft",
               "without outlier")  # fmt: skip

LIMITS = """
## What this does not show

Small networks, small images, short trainings on a CPU: differences of one or two points are within
the intervals, and nothing is said of the published settings (ImageNet with CIFAR, COCO), for which
`benchmarks/gpu/interleaved_pcdarts.py` and `benchmarks/gpu/interleaved_proxyless.py` are the
scripts; they have not been run on a GPU here. Accuracies of the paper are known at second hand
only and stand in no table; by its reviews the smallest EfficientNet is better than all three of
its results, and nothing here claims the state of the art. Only differentiable methods are
interleaved; for others see `transnas search --learn-from`.

## Other work on one network for several tasks

For orientation; none was run here. One architecture or one set of weights for several tasks:
MTL-NAS (Gao et al., CVPR 2020), AdaShare (Sun et al., NeurIPS 2020), branched networks under a
budget (Bruggemann et al., BMVC 2020), FBNetV5 (Wu et al., 2021), AutoMTL (Zhang et al., NeurIPS
2022). One supernet for many devices: Once-for-All (Cai et al., ICLR 2020), FairNAS (Chu et al.,
ICCV 2021). A benchmark of transfer between tasks: TransNAS-Bench-101 (Duan et al., CVPR 2021)."""
