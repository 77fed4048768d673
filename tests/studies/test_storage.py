"""Storages under stress: a full disk, a restarted server, bulk against public interface."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from study_toys import SPACE, TASK, Sum

from transnas import InputError
from transnas.evaluation import Cost, Measurement, Objective
from transnas.studies import StorageError, list_studies, load_study, search
from transnas.studies._executors import now
from transnas.studies._lease import Lease
from transnas.studies._storage import OptunaStore, Store, folder_beside, label_of, open_store
from transnas.studies._trial import Codec, Entry, Trial

HERE = Path(__file__).parent
OBJECTIVES = (Objective(), Objective("size", maximise=False))
CODEC = Codec(SPACE, OBJECTIVES)


def entries() -> list[Entry]:
    """Return told trials of every status, with values that JSON and SQL treat specially."""
    curve = ({"validation_accuracy": math.nan}, {"validation_accuracy": math.inf}, {"loss": 1.0})
    measurements = [
        Measurement({"validation_accuracy": 0.1 + 0.2, "size": 3.0, "params": 5e-324}),
        Measurement({"validation_accuracy": math.nan}, Cost(1.5), "failed", "NaN — “quoted”"),
        Measurement({"validation_accuracy": 0.5, "size": 1.0}, status="pruned", curve=curve),
        Measurement.failed("line\nbreak ' \\ \x00".replace("\x00", "0")),
    ]
    return [
        Entry(Trial(i, SPACE.at(100 + i), m, now(), now(), ask), asked)
        for i, (m, ask, asked) in enumerate(
            zip(measurements, [1, 0, 2, 3], [2, 2, 4, 4], strict=True)
        )
    ]


def create(store: Store, name: str) -> tuple[int, Lease]:
    """Create a study and take its lease."""
    attributes = {"definition": {"format": 1}, "info": {}}
    study = store.create(name, OBJECTIVES, attributes)
    return study, store.acquire(study)


def test_bulk_and_public_interface_write_the_same(sqlite: str, postgres: str) -> None:
    for url in (sqlite, postgres):
        with open_store(url, create=True) as bulk:
            storage = bulk.storage  # type: ignore[attr-defined]
            assert isinstance(storage, RDBStorage)
            public = OptunaStore("public", storage)
            told, frozen = entries(), []
            for store, name in ((bulk, "bulk"), (public, "public")):
                study, lease = create(store, name)
                lease = store.append(study, lease, CODEC, told[:2], {"told": 2})
                lease = store.append(study, lease, CODEC, told[2:], None)
                store.release(study, lease)
                assert store.snapshot(study) == {"told": 2}
                assert str(bulk.read(study, CODEC)) == str(public.read(study, CODEC)) == str(told)
                frozen.append(storage.get_all_trials(study))
            for one, other in zip(*frozen, strict=True):
                one._trial_id = other._trial_id
                assert str(one) == str(other)
            assert set(bulk.studies()) >= {"bulk", "public"}
            assert bulk.studies() == public.studies()


def test_an_append_is_whole_or_nothing(sqlite: str) -> None:
    with open_store(sqlite, create=True) as store:
        study, lease = create(store, "x")
        told = entries()
        broken = [
            told[0],
            Entry(Trial(1, SPACE.at(5), Measurement({"a": object()}), now(), now(), 1), 2),
        ]  # type: ignore[dict-item]
        with pytest.raises(TypeError):
            store.append(study, lease, CODEC, broken, None)
        assert store.read(study, CODEC) == []
        store.append(study, lease, CODEC, told, None)
        assert len(store.read(study, CODEC)) == 4


def test_a_study_half_created_by_a_killed_process_is_adopted(storage: str) -> None:
    with open_store(storage, create=True) as store:
        store.create("half", (Objective(),), {})
        assert store.find("half") is None
    study = search(TASK, None, "random", 3, storage=storage, name="half", evaluator=Sum())
    assert len(study.trials) == 3


FULL = """
import resource, sys
from study_toys import TASK, Sum
from transnas.studies import StorageError, list_studies, load_study, search

url, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    search(TASK, None, "random", 20000, storage=url, name="x", evaluator=Sum(0.001), progress=False)
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_full_disk_ends_a_search_clearly_and_keeps_what_was_stored(
    kind: str, tmp_path: Path
) -> None:
    url = f"{kind}:///{tmp_path}/x.db"
    command = [sys.executable, "-c", FULL, url, "1000000"]
    result = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "cannot be written" in result.stdout
    assert "the same command continues" in result.stdout
    stored = load_study("x", url)
    assert len(stored.trials) > 50
    resumed = search(
        TASK, None, "random", len(stored.trials) + 5, storage=url, name="x", evaluator=Sum()
    )
    assert resumed.trials[: len(stored.trials)] == stored.trials
    assert len({t.architecture for t in resumed.trials}) == len(resumed.trials)


def test_connections_that_a_server_drops_are_made_again(postgres: str) -> None:
    with open_store(postgres, create=True) as store:
        study, lease = create(store, "dropped")
        engine: sa.Engine = store.engine  # type: ignore[attr-defined]
        drop = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )

        cuts = 0

        def cut(connection: sa.Connection, *_: object) -> None:
            """Lose the connection in the middle of the first transaction."""
            nonlocal cuts
            cuts += 1
            if cuts > 1:
                return
            other = sa.create_engine(engine.url)
            with other.connect() as control:
                control.execute(drop)
            other.dispose()

        sa.event.listen(engine, "before_cursor_execute", cut)
        lease = store.append(study, lease, CODEC, entries(), None)
        store.release(study, lease)
        assert len(store.read(study, CODEC)) == 4


def test_a_commit_whose_answer_was_lost_is_not_repeated(postgres: str) -> None:
    with open_store(postgres, create=True) as store:
        study, lease = create(store, "answered")
        engine: sa.Engine = store.engine  # type: ignore[attr-defined]
        original = engine.dialect.do_commit

        def commit(connection: sa.engine.interfaces.DBAPIConnection) -> None:
            original(connection)  # type: ignore[arg-type]
            engine.dialect.do_commit = original  # type: ignore[method-assign]
            raise sa.exc.OperationalError("COMMIT", {}, Exception("connection lost"))

        engine.dialect.do_commit = commit  # type: ignore[method-assign]
        store.append(study, lease, CODEC, entries(), None)
        assert len(store.read(study, CODEC)) == 4


def test_a_failing_storage_is_reported_to_the_search(
    sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(TASK, None, "random", 2, storage=sqlite, name="x", evaluator=Sum())
    engine = sa.create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE trial_values"))
    engine.dispose()

    class Dropping(Sum):
        def evaluate(self, *args: object, **options: object) -> Measurement:
            with engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE IF EXISTS trial_values"))
            return super().evaluate(*args, **options)  # type: ignore[arg-type]

    Dropping.__name__ = "Sum"
    with pytest.raises(StorageError, match="no such table: trial_values"):
        search(TASK, None, "random", 200, storage=sqlite, name="x", evaluator=Dropping(0.01))
    engine.dispose()
    assert len(load_study("x", sqlite).trials) == 2


NO_JOURNALS = ("hello\nworld\n", "hello", '{"a": 1}', '{"a": 1}\n', "7\n", "\0" * 9 + "\n")


@pytest.mark.parametrize("text", NO_JOURNALS)
def test_a_file_that_is_no_journal_stays_as_it_is(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    for create in (False, True):
        with pytest.raises(InputError, match="line 1 is no record"):
            open_store(f"journal:///{path}", create)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_needs_three_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("journal://file.log", "journal://"):
        with pytest.raises(InputError, match="accepted: journal:///file"):
            open_store(url, create=True)
    assert list(tmp_path.iterdir()) == []


def journal_of_two_trials(folder: Path) -> tuple[Path, str]:
    """Return the file and the URL of a journal with a study `x`."""
    path = folder / "x.log"
    url = f"journal:///{path}"
    search(TASK, None, "random", 2, storage=url, name="x", evaluator=Sum())
    return path, url


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_damaged_line_of_a_journal_is_told_before_anything_is_appended(
    place: str, tmp_path: Path
) -> None:
    path, url = journal_of_two_trials(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    number = {"first": 1, "last": len(lines)}[place]
    lines[number - 1] = b'{"op_code": 7,\n'
    path.write_bytes(b"".join(lines))
    for attempt in (
        lambda: search(TASK, None, "random", 4, storage=url, name="x", evaluator=Sum()),
        lambda: list_studies(url),
    ):
        with pytest.raises(InputError, match=f"line {number} is no record"):
            attempt()
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("kept", [5, 40])
def test_a_record_cut_short_is_passed_over_and_dropped_by_the_next_search(
    kept: int, tmp_path: Path
) -> None:
    path, url = journal_of_two_trials(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:kept])
    assert len(load_study("x", url).trials) == 2
    assert path.stat().st_size > len(whole)
    search(TASK, None, "random", 4, storage=url, name="x", evaluator=Sum())
    assert len(load_study("x", url).trials) == 4


def test_reading_a_database_of_somebody_else_leaves_it_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE letters (text TEXT)"))
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds no studies"):
        list_studies(f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_study_keeps_lies_in_a_folder_of_its_own_for_every_name() -> None:
    names = [".", "..", "...", "a/b", "a b", "../x", "x" * 300, "y" * 500, "ä" * 500]
    folders = [folder_beside("sqlite:///x.db", name) for name in names]
    assert len(set(folders)) == len(names)
    for folder in folders:
        assert folder is not None
        assert folder.parent == Path("x.db.checkpoints")
        assert folder.name not in (".", "..")
        assert len(folder.name.encode()) <= 255
    assert folders[3:5] == [Path("x.db.checkpoints/a%2Fb"), Path("x.db.checkpoints/a b")]


def test_every_damaged_page_of_a_database_is_told_in_one_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    search(TASK, None, "random", 9, storage=f"sqlite:///{whole}", name="x", evaluator=Sum())
    data, page = whole.read_bytes(), 4096
    told = []
    for start in range(page, len(data), page):
        path = tmp_path / f"{start}.db"
        path.write_bytes(data[:start] + b"\xff" * page + data[start + page :])
        try:  # a page that holds nothing that is read may be damaged unseen
            assert len(load_study("x", f"sqlite:///{path}").trials) == 9
        except (InputError, StorageError) as error:
            told.append(str(error))
    assert len(told) > 5
    assert all("malformed" in sentence for sentence in told)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@host/db",
        "postgresql://u:se/secret@et@host/db",
        "postgresql://host/db?user=u&password=secret&x=1",
        "transnas search --storage 'postgresql://u:secret@host/db?password=secret' --trials 3",
    ],
)
def test_labels_hold_no_password(url: str) -> None:
    assert "secret" not in label_of(url)
    assert "host/db" in label_of(url)
    assert label_of("sqlite:////a/b@c:d.db") == "sqlite:////a/b@c:d.db"
