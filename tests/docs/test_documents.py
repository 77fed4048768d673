"""The documents' Python runs as printed, top to bottom, as a reader would run it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["docs/architecture.md", "docs/tutorial.md"])
def test_every_python_block_runs(document: str, tmp_path: Path) -> None:
    blocks = BLOCK.findall((ROOT / document).read_text())
    assert blocks
    script = tmp_path / "document.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_examples_of_how_to_add_things_are_short() -> None:
    for block in BLOCK.findall((ROOT / "docs/architecture.md").read_text()):
        assert len(block.splitlines()) < 40
