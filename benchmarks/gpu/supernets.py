"""Supernet search steps on a GPU: plain execution against channels-last, AMP, compile and graphs.

    python benchmarks/gpu/supernets.py                        # under 10 minutes on one GPU
    python benchmarks/gpu/supernets.py --device cpu --tiny    # to see that it runs

A step is the gradients of the logits, then of the weights. Variants run in one process, one after
the other; the median of each and the peak of its allocated memory are written to
benchmarks/results/supernets-gpu.json. `goal`: 4 times the reference at half its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from _record import write_result
from _supernet_steps import CIFAR, net_for, random_batch
from torch.nn import functional as F

from transnas.networks import Supernet
from transnas.tasks import Signature

LIMIT = 540.0
"""Seconds after which no further variant is begun."""


def prepare(
    name: str, size: int, signature: Signature, device: str, skeleton: dict[str, int]
) -> Any:
    """Return a call that makes one step of a variant."""
    plain = name == "reference"
    net = net_for("darts", "reference" if plain else "torch", None, signature, device, **skeleton)
    x, y = random_batch(size, signature, device)
    if not plain:
        x = x.to(memory_format=torch.channels_last)
    kind = torch.device(device).type
    half = "amp" in name
    call: Callable[..., torch.Tensor] = net
    if "compile" in name:
        call = torch.compile(net, mode="reduce-overhead" if "graphs" in name else None)

    def gradients(wanted: list[torch.nn.Parameter]) -> None:
        for p in net.parameters():
            p.grad = None
        cast = torch.autocast(kind, torch.bfloat16) if half else contextlib.nullcontext()
        with cast:
            loss = F.cross_entropy(call(x), y)
        if plain:
            loss.backward()
        else:
            torch.autograd.backward(loss, inputs=wanted)

    def step() -> None:
        gradients(net.architecture_parameters())
        gradients(net.shared_weights())

    return captured(net, step) if name.endswith("cuda-graph") else step


def captured(net: Supernet, step: Callable[[], None]) -> Callable[[], None]:
    """Return the replay of a CUDA graph of `step`: no launches from Python, fixed addresses."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())  # the weights may still be on their way
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def seconds(step: Callable[[], None], device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measured(
    name: str, given: argparse.Namespace, skeleton: dict[str, int], signature: Signature
) -> dict[str, Any]:
    """Return median seconds and peak memory of one variant, or why it does not run."""
    if given.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        step = prepare(name, given.batch, signature, given.device, skeleton)
        first = seconds(step, given.device)
        times = [seconds(step, given.device) for _ in range(given.rounds)]
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        return {"error": str(error).splitlines()[0]}
    found = {"first_seconds": first, "median_seconds": statistics.median(times), "seconds": times}
    if given.device != "cpu":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        sys.exit("no CUDA device; accepted here: --device cpu --tiny")
    skeleton, signature = {"channels": 16, "layers": 8}, CIFAR
    names = ["reference", "channels-last", "channels-last amp"]
    if given.device != "cpu":
        names += ["channels-last cuda-graph", "channels-last amp cuda-graph"]
        names += ["channels-last amp compile", "channels-last amp compile graphs"]
    if given.tiny:
        skeleton, signature = {"channels": 8, "layers": 2}, Signature((3, 8, 8), 10)
        given.batch, given.rounds = 4, 2
    start, result = time.perf_counter(), dict[str, Any]()
    for name in names:
        if time.perf_counter() - start > LIMIT:
            result[name] = {"error": "not begun: out of time"}
            continue
        result[name] = measured(name, given, skeleton, signature)
        base = result["reference"].get("median_seconds")
        if base and "median_seconds" in result[name]:
            result[name]["times_faster"] = round(base / result[name]["median_seconds"], 2)
        print(name, result[name], flush=True)
    about = {"batch": given.batch, "skeleton": skeleton, "goal": "4x at half the memory"}
    if given.device != "cpu":
        about["device"] = torch.cuda.get_device_name()
    if not given.tiny:
        print(write_result("supernets-gpu", {**about, "variants": result}))


if __name__ == "__main__":
    main()
