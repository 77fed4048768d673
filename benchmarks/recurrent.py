"""Recurrent cells searched on the Penn Treebank, beside an LSTM and random cells, at equal steps.

    python benchmarks/recurrent.py [--seeds 4] [--rows LSTM 'darts searched']

Needs the text under TRANSNAS_DATA. A DARTS cell is searched with the published settings of the
recurrent search but fewer streams, units and steps, an ENAS cell with as many steps. Found cells,
random cells of both spaces and an LSTM with at least as many weights then train for equal steps on
the same tokens, and are tested once. Writes benchmarks/results/recurrent.json after each network,
and goes on from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_result
from torch import Tensor, nn

from transnas import networks, oneshot, spaces, tasks
from transnas.evaluation.training import Recipe, deterministic, fit, measure, workplace
from transnas.spaces import Architecture
from transnas.tasks import DataTask

SEEDS = 4
ROWS = (
    "LSTM",
    "darts searched",
    "darts searched with dropout",
    "darts random",
    "enas searched",
    "enas random",
)
WINDOW = 35
SEARCH = {"hidden": 64, "streams": 32, "steps": 30, "epochs": 10}
"""Steps are those of an epoch."""
TRAINING = {"hidden": 64, "streams": 20, "steps": 200}
PUBLISHED = {
    "learning_rate": 20.0,
    "least_learning_rate": 20.0,
    "momentum": 0.0,
    "weight_decay": 5e-7,
    "gradient_clip": 0.25,
    "batch_size": SEARCH["streams"],
    "epochs": SEARCH["epochs"],
}
"""Of the weights in a recurrent search (Liu et al., ICLR 2019)."""
DROPOUT = {"input_dropout": 0.8, "hidden_dropout": 0.25, "output_dropout": 0.75}
"""Of the same searches."""
OWN: dict[str, dict[str, Any]] = {
    "darts": {"logits_learning_rate": 3e-3},
    "enas": {
        "nesterov": False,
        "controller_steps": 5,
        "rewards": 5,
        "controller_learning_rate": 0.01,
        "candidates": 20,
    },
}
RECIPE = Recipe(
    batch_size=TRAINING["streams"],
    learning_rate=20.0,
    warmup=0.0,
    momentum=0.0,
    weight_decay=8e-7,
    label_smoothing=0.0,
    gradient_clip=0.25,
)


class LSTM(nn.Module):
    """A language model of one LSTM layer, with embedding and decoder tied like the others'."""

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.cell = nn.LSTM(hidden, hidden, batch_first=True)
        self.decoder = nn.Linear(hidden, vocabulary)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def run(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, T] and both states [2, B, H] -> logits [B, T, vocabulary] and both states."""
        before = None if state is None else (state[:1].contiguous(), state[1:].contiguous())
        outputs, after = self.cell(self.embedding(tokens), before)
        return self.decoder(outputs), torch.cat(after)


def text(streams: int, steps: int) -> DataTask:
    """Return the Penn Treebank with so many steps an epoch; test is whole, validation as long."""
    task = tasks.get("ptb", limit=streams * (steps * WINDOW + 1))
    assert isinstance(task, DataTask)
    return task


def searched(method: str, seed: int, dropout: dict[str, float]) -> tuple[Architecture, float]:
    """Return what a search finds, and the processor's seconds that it took."""
    started = time.process_time()
    settings = oneshot.get(method).Settings(**PUBLISHED, **OWN[method])  # type: ignore[arg-type]
    found = oneshot.search(
        text(SEARCH["streams"], SEARCH["steps"]),
        spaces.get(f"{method}-recurrent"),
        method,
        settings,
        skeleton={"hidden": SEARCH["hidden"], **dropout},
        seed=seed,
        device="cpu",
    )
    return found.architecture, time.process_time() - started


def lstm_width(weights: int, vocabulary: int) -> int:
    """Return the fewest units with which an LSTM has at least so many weights."""
    hidden = 1
    while (vocabulary + 8 * hidden + 8) * hidden + vocabulary < weights:
        hidden += 1
    return hidden


def network_of(row: str, seed: int, task: DataTask) -> tuple[nn.Module, str, float]:
    """Return an untrained network, what it is, and the seconds of searching for it."""
    hidden, vocabulary = TRAINING["hidden"], task.signature.outputs
    if row == "LSTM":
        space = spaces.get("darts-recurrent")
        like = networks.build(space, space.sample(np.random.default_rng(0)), task.signature,
                              hidden=hidden)  # fmt: skip
        width = lstm_width(sum(p.numel() for p in like.parameters()), vocabulary)
        return LSTM(vocabulary, width), f"{width} units", 0.0
    method, _, how = row.partition(" ")
    space, seconds = spaces.get(f"{method}-recurrent"), 0.0
    if how == "random":
        arch = space.sample(np.random.default_rng([seed, 99]))
    else:
        arch, seconds = searched(method, seed, DROPOUT if "dropout" in how else {})
    torch.manual_seed(seed)
    network = networks.build(space, arch, task.signature, hidden=hidden)
    return network, space.to_text(arch), seconds


def run(row: str, seed: int) -> dict[str, Any]:
    """Find, train, test once."""
    task, at = text(TRAINING["streams"], TRAINING["steps"]), workplace("cpu")
    with deterministic(seed, at.device):
        network, what, seconds = network_of(row, seed, task)
        started = time.process_time()
        fit(network, task.train, None, RECIPE, epochs=1, seed=seed, kind="language", at=at)
    spent = time.process_time() - started
    final = task.final_test(what, lambda split: measure(network, split, at, "language"))
    return {
        "row": row,
        "seed": seed,
        "network": what,
        "weights": sum(p.numel() for p in network.parameters()),
        "search_seconds": seconds,
        "training_seconds": spent,
        "validation_perplexity": measure(network, task.validation, at, "language")["perplexity"],
        "test_perplexity": final.metrics["perplexity"],
    }


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", nargs="*", default=ROWS, choices=ROWS)
    given = parser.parse_args()
    path = RESULTS / "recurrent.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    done = {(r["row"], r["seed"]) for r in runs}
    common = {
        "search": {**SEARCH, **PUBLISHED},
        "own": OWN,
        "dropout": DROPOUT,
        "training": TRAINING,
    }
    for seed in range(given.seeds):
        for row in given.rows:
            if (row, seed) not in done:
                runs.append(run(row, seed))
                print(runs[-1], flush=True)
                write_result("recurrent", {**common, "runs": runs})


if __name__ == "__main__":
    main()
