"""What a command that fails may take away again: a store in which nothing is, and no other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxanchor.cli.arguments import key_file, no_empty_store
from voxanchor.enrolments.records import Decision, EnrolmentEmbedding
from voxanchor.enrolments.store import Store, open_store
from voxanchor.errors import AudioError, EnrolmentError

ANN = [EnrolmentEmbedding(np.array([1.0, 0.0], np.float32), 2.0, 20.0)]


def failing(place: Path, meanwhile: Callable[[], object]) -> None:
    """Run a command that fails after something was done."""
    with no_empty_store(str(place)):
        meanwhile()
        raise AudioError("the command failed")


def made(place: Path, *, ann: bool = False, log: bool = False) -> None:
    with open_store(place) as store:
        if ann:
            store.enroll("Ann", ANN, "m")
        if log:
            store.log(Decision(None, "identify", "nobody", None, None, None, "m"))


def test_a_store_that_a_failing_command_made_goes_with_it(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    with pytest.raises(AudioError):
        failing(place, lambda: made(place))
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_somebody_else_filled_meanwhile_stays(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    with pytest.raises(AudioError):
        failing(place, lambda: made(place, ann=True))
    with open_store(place) as store:
        assert [person.name for person in store.people()] == ["Ann"]


def test_a_store_with_a_log_stays(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    with pytest.raises(AudioError):
        failing(place, lambda: made(place, log=True))
    with open_store(place) as store:
        assert len(store.decisions()) == 1


def test_a_store_that_somebody_else_has_open_stays(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    opened: list[Store] = []
    with pytest.raises(AudioError):
        failing(place, lambda: opened.append(open_store(place)))
    with opened[0] as other:
        other.enroll("Ann", ANN, "m")
    with open_store(place) as store:
        assert [person.name for person in store.people()] == ["Ann"]


def test_a_file_that_is_no_store_stays(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    with pytest.raises(AudioError):
        failing(place, lambda: place.write_text("words"))
    assert place.read_text() == "words"


def test_a_missing_file_with_a_key_is_called_missing_and_never_shown(tmp_path: Path) -> None:
    assert key_file(None) is None
    (tmp_path / "key").touch()
    assert key_file(tmp_path / "key") == str(tmp_path / "key")
    with pytest.raises(EnrolmentError, match="does not exist") as caught:
        key_file(tmp_path / "secret")
    assert "secret" not in str(caught.value)


def test_a_deleted_name_goes_from_texts_in_whatever_form_it_stood_there() -> None:
    composed, apart = "Jos\u00e9", "Jose\u0301"
    with open_store(":memory:") as store:
        store.enroll(composed, ANN, "m")
        store.enroll("Bob", ANN, "m", by=apart)
        store.log(Decision(composed, "verify", "abstained", None, None, None, "m", f"/{apart}/a.wav is silent", apart))
        store.delete(apart)
        (line,) = store.decisions()
        assert (line.person, line.reason, line.by) == (None, "/(deleted)/a.wav is silent", "")
        assert store.enrolments("Bob")[0].by == ""
