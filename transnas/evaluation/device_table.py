"""`DeviceTable`: latency and energy of NAS-Bench-201 cells on real devices, looked up.

Li et al., "HW-NAS-Bench", ICLR 2021: edge GPU (Jetson TX2), Raspberry Pi 4, Edge TPU, Pixel 3, an
ASIC (Eyeriss) and an FPGA. Read from `nas/nasbench201_hw.npz` under TRANSNAS_DATA.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from transnas import spaces
from transnas._errors import InputError, unknown
from transnas.evaluation._base import Evaluator, Measurement
from transnas.evaluation._benchmarks import provided_arrays
from transnas.spaces import Architecture
from transnas.tasks import TableTask, Task

__all__ = ["DeviceTable", "devices"]

_COLUMNS = {"cifar10": "hw_c10", "cifar100": "hw_c100", "imagenet16-120": "hw_in16"}
_DATA: dict[tuple[int, ...], str] = {(3, 32, 32): "cifar10", (3, 16, 16): "imagenet16-120"}
_UNITS = {"latency": "latency_ms", "energy": "energy_mj"}
_FILE = "nasbench201_hw.npz"


def devices() -> dict[str, list[str]]:
    """Return the devices of the table at hand, each with what is known: `latency`, `energy`."""
    arrays = provided_arrays(_FILE)
    found: dict[str, list[str]] = {}
    for name in map(str, arrays["metrics"]):
        device, _, quantity = name.rpartition("_")
        if quantity in _UNITS:
            found.setdefault(device, []).append(quantity)
    return found


class DeviceTable(Evaluator):
    """Looks up `latency_ms` and, where it is known, `energy_mj` of one image on `device`.

    For the data sets of NAS-Bench-201; another task with 32x32 colour images counts as CIFAR-10,
    one with 16x16 as ImageNet16-120. The measurement costs nothing. Raises `InputError` for an
    unknown device, another space or input size, or a missing table.
    """

    def __init__(self, task: Task, device: str) -> None:
        known = devices()
        if device not in known:
            raise unknown("device of the table", device, known)
        column = task.column if isinstance(task, TableTask) else None
        column = column or _DATA.get(task.signature.input_shape)
        space = task.space if isinstance(task, TableTask) else "nasbench201"
        if column not in _COLUMNS or space != "nasbench201":
            raise InputError(
                f"task {task.name!r} is not in the table of devices; accepted: nasbench201/... "
                "tables, or colour images of 32x32 or 16x16 pixels on space nasbench201"
            )
        self.device = device
        self.column = column
        self.quantities = tuple(known[device])

    @property
    def label(self) -> str:
        """The device and the data set."""
        return f"DeviceTable({self.device}, {self.column})"

    def values(self, quantity: str = "latency") -> npt.NDArray[np.float64]:
        """Return `latency` (ms) or `energy` (mJ) of every cell, [15625] in `space.index` order."""
        arrays = provided_arrays(_FILE)
        names = list(map(str, arrays["metrics"]))
        column = arrays[_COLUMNS[self.column]][:, names.index(f"{self.device}_{quantity}")]
        found: npt.NDArray[np.float64] = column.astype(np.float64)
        return found

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return frozenset(_UNITS[name] for name in self.quantities)

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Look up `arch`; the budget has no effect."""
        space = spaces.get("nasbench201")
        space.validate(arch)
        index = space.index(arch)
        return Measurement(
            {_UNITS[name]: float(self.values(name)[index]) for name in self.quantities}
        )
