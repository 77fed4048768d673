"""Builds and loads the C++ kernel of mixed edges: once a machine, with the system's compiler."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

__all__ = ["LANES", "Unavailable", "load"]

LANES = 8
"""Channels must be a multiple of this."""

_SOURCE = Path(__file__).with_name("kernels") / "source_major.cpp"
_FLAGS = ("-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
_TARGETS = (("-march=native",), ())
"""Tried in turn: vectors of this machine, then those that every machine of its kind has."""
_log = logging.getLogger("transnas")


class Unavailable(Exception):
    """There is no kernel; the message says why."""


def load(channels: int) -> ctypes.CDLL:
    """Return the kernel for so many channels, built if the cache does not have it.

    Its vectors have 16 numbers where the channels and the processor's registers (AVX-512) allow it,
    otherwise 8. Raises `Unavailable`.
    """
    wide = channels % (2 * LANES) == 0 and " avx512f " in f"{_processor()} "
    found = _load(2 * LANES if wide else LANES)
    if isinstance(found, str):
        raise Unavailable(found)
    return found


@functools.cache
def _load(lanes: int) -> ctypes.CDLL | str:
    try:
        return ctypes.CDLL(str(_built(lanes)))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None)
        reason = str(detail or error).strip().splitlines()
        text = f"no compiled kernel for mixed edges ({reason[0] if reason else error})"
        _log.warning("%s; the torch back end is used", text)
        return text


def _built(lanes: int) -> Path:
    """Return the library of this source, torch, compiler and machine, for vectors of `lanes`."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise FileNotFoundError("no C++ compiler: neither CXX nor g++ nor c++")
    text = b"".join(p.read_bytes() for p in sorted(_SOURCE.parent.glob("*.[ch]*")))
    key = "\n".join((torch.__version__, compiler, *_FLAGS, _processor())).encode()
    name = f"source_major-{lanes}-{hashlib.sha256(text + key).hexdigest()[:16]}.so"
    library = _cache() / name
    if not library.exists():
        _log.info("building the kernel for mixed edges, once on this machine")
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / name
            _compile(compiler, lanes, made)
            made.replace(library)  # whole or not at all, also when two processes build
    return library


def _compile(compiler: str, lanes: int, target: Path) -> None:
    root = Path(torch.__file__).parent
    # Torch's own OpenMP runtime: a second one would spin beside it.
    runtime = [str(p) for p in sorted((root / "lib").glob("libgomp*.so*"))]
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    defined = [f"-D_GLIBCXX_USE_CXX11_ABI={abi}", f"-DLANES={lanes}"]
    command = [compiler, *_FLAGS, "-fopenmp", *defined]
    rest = [f"-I{root / 'include'}", str(_SOURCE), f"-L{root / 'lib'}", "-Wl,--as-needed"]
    rest += [*runtime, "-ltorch_cpu", "-lc10", "-o", str(target)]
    for position, flags in enumerate(_TARGETS):
        try:
            subprocess.run([*command, *flags, *rest], check=True, capture_output=True, text=True)
            return
        except subprocess.CalledProcessError:
            if position == len(_TARGETS) - 1:
                raise


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "transnas" / "kernels"


@functools.cache
def _processor() -> str:
    """Return what the processor can do, so that a shared home folder serves several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return os.uname().machine
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
