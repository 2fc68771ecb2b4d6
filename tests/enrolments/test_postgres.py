"""What is particular to a store in PostgreSQL."""

import gc
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.postgres import PostgresStore
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import open_store
from voxanchor.errors import EnrolmentError, MissingExtraError

Prints = Callable[..., list[EnrolmentEmbedding]]


def test_a_key_is_refused() -> None:
    with pytest.raises(EnrolmentError, match="encrypt the database server's disk"):
        open_store("postgresql://localhost/none", new_key())


def test_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    with pytest.raises(MissingExtraError, match=r"'psycopg_pool'.*pip install 'voxanchor\[postgres\]'"):
        open_store("postgres://localhost/none")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(EnrolmentError, match=r"postgresql://127.0.0.1/none: PostgreSQL reports") as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)
    with pytest.raises(EnrolmentError, match="address"):
        open_store("postgresql://me:secret@host:port:port/x?y")


def test_a_store_that_nobody_closed_is_closed_when_collected(postgres: str) -> None:
    store = PostgresStore(postgres)
    pool = store._pool
    del store
    gc.collect()
    assert pool.closed


def test_a_later_schema(postgres: str) -> None:
    import psycopg

    open_store(postgres).close()
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE voxanchor.setting SET value = '7' WHERE name = 'version'")
    with pytest.raises(EnrolmentError, match="version 7, this program knows 1"):
        open_store(postgres)


@pytest.mark.parametrize("model", ["m1", "a model's %s? \u00e9"])
def test_an_index_finds_the_same_people(postgres: str, prints: Prints, model: str) -> None:
    with PostgresStore(postgres) as store:
        for number in range(60):
            store.enroll(f"p{number:02d}", prints(1, seed=number), model)
            store.enroll(f"p{number:02d}", prints(1, seed=number + 500), "other")
        query = prints(1, seed=7)[0].embedding
        exact = store.search(query, model, 5)
        store.index(model)
        store.index(model)
        assert [match.person for match in store.search(query, model, 5)] == [match.person for match in exact]
        assert len(store.search(query, model, 400)) == 60
        store.enroll("new", [EnrolmentEmbedding(query, 1.0, 1.0)], model)
        assert {match.person for match in store.search(query, model, 2)} == {"new", "p07"}
        store.carry(model, "next", lambda embeddings: embeddings)
        store.drop_index(model)
        assert store.models() == {"next": 61, "other": 60}


def test_an_index_is_what_the_search_uses(postgres: str, prints: Prints) -> None:
    import psycopg

    def used(name: str) -> int:
        found = connection.execute("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname ~ %s", [name])
        return sum(count for (count,) in found)

    with psycopg.connect(postgres, autocommit=True) as connection:
        with PostgresStore(postgres) as store:
            for number in range(20):
                store.enroll(f"p{number:02d}", prints(1, seed=number), "m1")
            store.index("m1")
        for setting in ("enable_seqscan", "enable_sort"):  # so few rows are sorted whole unless that is forbidden
            connection.execute(f"ALTER DATABASE postgres SET {setting} = off".encode())
        try:
            with PostgresStore(postgres) as store:
                store.search(prints(1)[0].embedding, "m1", 3)
        finally:
            connection.execute("ALTER DATABASE postgres RESET ALL")
        end = time.monotonic() + 10
        while not used("^voice_[0-9a-f]{16}$") and time.monotonic() < end:  # counted when the connection has gone
            time.sleep(0.05)
        assert used("^voice_[0-9a-f]{16}$") >= 1


def test_indexes_that_cannot_be(postgres: str) -> None:
    with PostgresStore(postgres) as store:
        with pytest.raises(EnrolmentError, match="nobody is enrolled"):
            store.index("m1")
        store.enroll("Ann", [EnrolmentEmbedding(np.eye(2001, dtype=np.float32)[0], 1.0, 1.0)], "m1")
        with pytest.raises(EnrolmentError, match="2001 dimensions"):
            store.index("m1")
        assert store.search(np.eye(2001, dtype=np.float32)[0], "m1", 1)[0].person == "Ann"
