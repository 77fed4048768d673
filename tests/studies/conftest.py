"""A real PostgreSQL server, started once for the tests that want it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binary(name: str) -> str | None:
    found = shutil.which(name)
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(packaged[-1]) if packaged else found


def _as_server_user(command: list[str], folder: Path) -> None:
    """Run a command as a user that PostgreSQL accepts: anybody but root."""
    options: dict[str, object] = {"user": "nobody", "group": "nogroup"} if not os.getuid() else {}
    subprocess.run(
        command,
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server of our own; skips where PostgreSQL is absent.

    In CI, absence is an error, so that no test is lost unseen.
    """
    initdb, control = _binary("initdb"), _binary("pg_ctl")
    if initdb is None or control is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL's initdb and pg_ctl are missing; CI needs them")
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    # Short and outside pytest's private folders: the server's user must get in, and socket
    # paths are limited to about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="transnas-pg-"))
    if not os.getuid():
        shutil.chown(folder, "nobody", "nogroup")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        _as_server_user([initdb, "-D", data, "-A", "trust", "-U", "tester"], folder)
        log = str(folder / "log")
        _as_server_user([control, "-D", data, "-l", log, "-w", "-o", options, "start"], folder)
        try:
            yield f"postgresql://tester@127.0.0.1:{port}"
        finally:
            _as_server_user([control, "-D", data, "-m", "immediate", "-w", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """URL of an empty database on a real PostgreSQL server."""
    import psycopg2

    name = f"test_{uuid.uuid4().hex}"
    connection = psycopg2.connect(f"{postgres_server}/postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{postgres_server}/{name}"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture(params=["sqlite", "postgresql", "journal", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of one storage of each kind."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return {
        "sqlite": f"sqlite:///{tmp_path}/studies.db",
        "journal": f"journal:///{tmp_path}/journal.log",
        "memory": f"memory://{tmp_path}",
    }[request.param]
