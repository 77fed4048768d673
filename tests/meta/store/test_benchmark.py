"""The benchmark's searches see the 12-epoch rewards of the target and nothing else of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transnas.meta.store import replicate_transfer

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.parametrize("pool", ["micro", "subset"])
def test_searches_read_no_final_accuracy(
    pool: str, data_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = data_file("nas/nasbench201.npz").parent
    for name in ("transnas101.npz", "metad2a_nb201_tasks.npz"):
        data_file(f"nas/{name}")
        (tmp_path / "nas").mkdir(exist_ok=True)
        (tmp_path / "nas" / name).symlink_to((folder / name).resolve())
    with np.load(folder / "nasbench201.npz") as table:
        arrays = {key: table[key] for key in table.files}
    for key in arrays:
        if not key.startswith("val12_") and arrays[key].dtype.kind == "f":
            arrays[key] = np.full_like(arrays[key], np.nan)
    np.savez(tmp_path / "nas" / "nasbench201.npz", **arrays)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark = importlib.import_module("learning_from_studies")

    def asked() -> np.ndarray:
        tables = benchmark.Tables()
        micro, subset = benchmark.micro_pool(tables, 71), benchmark.subset_pool(tables, 500)
        draw = micro if pool == "micro" else subset
        found = benchmark.priors(draw, 2, benchmark.as_measured)
        return replicate_transfer(benchmark.SPACE, tables.rewards["c10"], range(2), 25, found)

    monkeypatch.setenv("TRANSNAS_DATA", str(folder.parent))
    complete = asked()
    monkeypatch.setenv("TRANSNAS_DATA", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        blind = asked()
    np.testing.assert_array_equal(blind, complete)
