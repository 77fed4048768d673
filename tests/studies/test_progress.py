"""What a search prints, on a terminal and elsewhere."""

from __future__ import annotations

import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from study_toys import TASK, Sum, Troubled

from transnas.studies import _progress, search
from transnas.studies._duration import duration

HERE = Path(__file__).parent


def test_nothing_is_printed_unasked(sqlite: str, capfd: pytest.CaptureFixture[str]) -> None:
    search(TASK, None, "random", 5, storage=sqlite, evaluator=Sum())
    assert capfd.readouterr() == ("", "")


def test_plain_lines_without_a_terminal(
    sqlite: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "PLAIN_INTERVAL", 0.0)
    study = search(
        TASK, None, "random", 12, storage=sqlite, name="p", evaluator=Troubled(), progress=True,
        timeout=0.2,
    )  # fmt: skip
    output, errors = capfd.readouterr()
    assert output == ""
    lines = errors.splitlines()
    assert lines[0].startswith("p: 1/12 trials, ")
    failed = sum(t.status == "failed" for t in study.trials)
    assert study.best is not None
    value = f"{study.best.metrics['validation_accuracy']:.4g}"
    assert lines[-1].startswith(
        f"p: 12/12 trials, {failed} failed, best validation_accuracy {value}, cost "
    )
    assert "trials/s" in lines[-1]


SCRIPT = """
import sys
from study_toys import TASK, Sum
from transnas.studies import search
search(TASK, None, "random", 200, storage=sys.argv[1], name="p", evaluator=Sum(0.005))
"""


def test_one_line_redrawn_on_a_terminal(sqlite: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, sqlite], cwd=HERE, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        seen += block
    os.close(ours)
    assert process.wait() == 0
    text = seen.decode()
    assert "p: 200/200 trials" in text
    assert text.count("trials/s") > 3
    assert text.count("\n") < 10


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (0.25, "250 ms"),
        (0.9996, "1.0 s"),
        (9.96, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (61, "1 min 01 s"),
        (119.9, "2 min 00 s"),
        (3599.9, "1 h 00 min"),
        (7260, "2 h 01 min"),
        (18600.0, "5 h 10 min"),
        (172799.0, "2.0 days"),
        (864000, "10.0 days"),
        (math.nan, "–"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected
