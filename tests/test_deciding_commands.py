"""The commands that decide who speaks, and those about the people in a store."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from voxanchor.cli.main import run
from voxanchor.enrolments.store import open_store
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.calibration import FILE, Calibration, CalibrationRecord, Threshold

CONFIG = EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})
VERIFICATION = {"accepted", "decision", "score", "llr", "threshold", "prior", "sides", "reason"}
QUALITY = {"duration_s", "speech_s", "snr_db", "clipped", "level_db", "dc", "bandwidth_hz", "peak"}
SIDE = QUALITY | {"recordings", "warnings"}
PERSON = {"name", "recordings", "models", "created", "updated"}
ENROLMENT = {"id", "person", "model", "created", "by", "speech_s", "snr_db", "source", "keeps_audio"}
DECISION = {"person", "kind", "decision", "score", "llr", "threshold", "model", "reason", "by", "at"}


@dataclass(frozen=True)
class Said:
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def voxanchor(capsys: pytest.CaptureFixture[str]) -> Command:
    """(arguments, status=0) -> what was said; anything but that exit status is a failure."""

    def command(*arguments: str | Path, status: int = 0) -> Said:
        capsys.readouterr()
        try:
            found = run([*map(str, arguments)])
        except SystemExit as left:  # by the parser
            found = int(left.code or 0)
        said = Said(*capsys.readouterr())
        assert found == status, f"{found}\n{said.out}\n{said.err}"
        assert "Traceback" not in said.err
        return said

    return command


def saved(folder: Path, seed: int) -> SpeakerEncoder:
    encoder = SpeakerEncoder(CONFIG, seed)
    # a random network finds all voices alike: the same recording is accepted, any other is rejected
    thresholds = (Threshold(1.0, 0.0, 5000, 50, 20, 3.0, 0.5, 2.0), Threshold(0.1, None, 5000, 5, 3, remark="too few"))
    record = CalibrationRecord(encoder.fingerprint, Calibration("cosine", -480.0, 100.0), thresholds, (), {})
    encoder.save(folder, {FILE: record.text().encode()})
    return encoder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., np.ndarray]) -> Path:
    """Recordings of two people, one of them too short; two models with a calibration, and one without."""
    folder = tmp_path_factory.mktemp("place")
    for name, speaker, seconds in (("ada", 1, 2.0), ("bob", 2, 2.0), ("short", 1, 0.3)):
        soundfile.write(folder / f"{name}.wav", voice(speaker, 1, seconds), 16_000)
    old, new = saved(folder / "model", 1), saved(folder / "newer", 2)
    (folder / "newer" / "enrolment_map.safetensors").write_bytes(b"")
    metadata = {"format": "voxanchor-enrolment-map-1", "old": old.fingerprint, "new": new.fingerprint}
    save_file({"matrix": np.eye(16, dtype=np.float32)}, folder / "newer" / "enrolment_map.safetensors", metadata)
    SpeakerEncoder(CONFIG, 3).save(folder / "plain")
    return folder


@pytest.fixture
def store(voxanchor: Command, place: Path, tmp_path: Path) -> Path:
    """Ada with two recordings whose audio is kept, and Bob with one."""
    path = tmp_path / "people.db"
    common: list[str | Path] = ["--model", place / "model", "--store", path]
    voxanchor("enroll", "Ada", place / "ada.wav", place / "ada.wav", *common, "--keep-audio", "--by", "desk")
    voxanchor("enroll", "Bob", place / "bob.wav", *common)
    return path


def test_verify_ends_with_a_status_that_is_the_decision(voxanchor: Command, place: Path) -> None:
    ada, bob, model = place / "ada.wav", place / "bob.wav", ("--model", place / "model")
    assert voxanchor("verify", ada, ada, *model).out.startswith("accepted: log-likelihood ratio")
    rejected = voxanchor("verify", ada, bob, *model, status=11)
    assert rejected.out.startswith("rejected: log-likelihood ratio")
    assert "for a prior of 0.01" in rejected.out
    assert voxanchor("verify", ada, place / "short.wav", *model, status=8).out.startswith("abstained: ")
    score = voxanchor("verify", ada, ada, "--model", place / "plain", status=8)  # a score lets nobody in
    assert float(score.out) == pytest.approx(1)
    assert "no decision" in score.err
    at_rate = voxanchor("verify", ada, ada, *model, "--false-acceptance", "1").out
    assert "threshold 0.00" in at_rate
    assert "prior" not in at_rate


def test_verify_prints_json(voxanchor: Command, place: Path) -> None:
    ada, model = place / "ada.wav", ("--model", place / "model", "--json")
    for other, decision, status in (("ada", "accepted", 0), ("bob", "rejected", 11), ("short", "abstained", 8)):
        found = voxanchor("verify", ada, place / f"{other}.wav", *model, status=status).json
        assert set(found) == VERIFICATION
        assert (found["decision"], found["accepted"]) == (decision, decision == "accepted")
        assert [set(side) for side in found["sides"]] == [SIDE, SIDE]
    found = voxanchor("verify", ada, ada, "--model", place / "plain", "--json", status=8).json
    assert (found["decision"], found["accepted"], found["llr"]) == ("uncalibrated", False, None)


def test_what_cannot_be_asked_is_refused(voxanchor: Command, place: Path, store: Path) -> None:
    ada, model = place / "ada.wav", ("--model", place / "model")
    people = (*model, "--store", store)
    assert "between 0 and 1" in voxanchor("verify", ada, ada, *model, "--prior", "1", status=2).err
    assert "too few" in voxanchor("verify", ada, ada, *model, "--false-acceptance", "0.1", status=2).err
    assert "there is one for" in voxanchor("verify", ada, ada, *model, "--false-acceptance", "7", status=2).err
    assert "missing.wav" in voxanchor("verify", ada, place / "missing.wav", *model, status=3).err
    assert "nothing" in voxanchor("verify", ada, ada, "--model", place / "nothing", status=4).err
    voxanchor("verify", ada, *model, status=2)
    voxanchor("verify-as", "Ada", ada, *people, "--prior", "0", status=2)
    voxanchor("identify", ada, *people, "--top", "0", status=2)
    voxanchor("enroll", "Ada", *people, status=2)
    assert "delete" in voxanchor("people", status=2).err
    voxanchor("people", "rename", "--store", store, status=2)


def test_enroll_says_what_it_came_to(voxanchor: Command, place: Path, tmp_path: Path) -> None:
    common: list[str | Path] = ["--model", place / "model", "--store", tmp_path / "people.db"]
    made = voxanchor("enroll", "Ada Lovelace", place / "ada.wav", place / "ada.wav", *common, "--json").json
    assert set(made) == QUALITY | {"person", "recordings", "warnings"}
    assert (made["person"], made["recordings"]) == ("Ada Lovelace", 2)
    assert "Ada Lovelace: 1 recording enrolled" in voxanchor("enroll", "Ada Lovelace", place / "ada.wav", *common).out
    unlike = voxanchor("enroll", "Both", place / "ada.wav", place / "bob.wav", *common)
    assert unlike.err.count("unlike the others") == 2
    refused = voxanchor("enroll", "Eve", place / "ada.wav", place / "short.wav", *common, status=3).err
    assert "Nothing was enrolled" in refused
    listed = voxanchor("people", "list", "--store", tmp_path / "people.db", "--json").json
    assert {person["name"]: person["recordings"] for person in listed} == {"Ada Lovelace": 3, "Both": 2}


def test_verify_as_ends_with_a_status_that_is_the_decision(voxanchor: Command, place: Path, store: Path) -> None:
    common: list[str | Path] = ["--model", place / "model", "--store", store]
    assert voxanchor("verify-as", "Ada", place / "ada.wav", *common, "--by", "door").out.startswith("accepted")
    voxanchor("verify-as", "Bob", place / "ada.wav", *common, status=11)
    voxanchor("verify-as", "Ada", place / "short.wav", *common, status=8)
    assert "Eve" in voxanchor("verify-as", "Eve", place / "ada.wav", *common, status=10).err
    found = voxanchor("verify-as", "Ada", place / "ada.wav", *common, "--json").json
    assert set(found) == VERIFICATION
    assert found["sides"][0]["recordings"] == 2
    log = voxanchor("people", "log", "--store", store, "--json").json
    assert [item["decision"] for item in log] == ["accepted", "unknown", "abstained", "rejected", "accepted"]
    assert set(log[0]) == DECISION
    assert log[-1]["by"] == "door"
    assert [
        item["person"] for item in voxanchor("people", "log", "--store", store, "--name", "Bob", "--json").json
    ] == ["Bob"]
    assert len(voxanchor("people", "log", "--store", store, "--limit", "2", "--json").json) == 2
    assert "asked by door" in voxanchor("people", "log", "--store", store).out


def test_identify_ends_with_a_status_that_is_the_answer(
    voxanchor: Command, place: Path, store: Path, voice: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    common: list[str | Path] = ["--model", place / "model", "--store", store]
    soundfile.write(tmp_path / "eve.wav", voice(7, 1), 16_000)
    assert voxanchor("identify", place / "ada.wav", *common).out.splitlines()[0] == "Ada"
    assert voxanchor("identify", tmp_path / "eve.wav", *common, status=11).out.splitlines()[0] == "nobody"
    assert voxanchor("identify", place / "short.wav", *common, status=8).out.startswith("abstained")
    found = voxanchor("identify", place / "bob.wav", *common, "--json").json
    assert set(found) == {
        *("decision", "person", "candidates", "nobody", "side", "reason", "remark"),
        *("threshold", "prior", "people", "false_acceptance"),
    }
    assert set(found["side"]) == SIDE
    assert [set(item) for item in found["candidates"]] == [{"person", "score", "llr", "probability", "warning"}] * 2
    assert found["person"] == found["candidates"][0]["person"] == "Bob"
    assert len(voxanchor("identify", place / "bob.wav", *common, "--top", "1", "--json").json["candidates"]) == 1


def test_identify_says_how_many_were_searched_by_what_threshold_and_at_what_rate(
    voxanchor: Command, place: Path, store: Path
) -> None:
    common: list[str | Path] = [place / "ada.wav", "--model", place / "model", "--store", store]
    said = voxanchor("identify", *common).out
    assert (
        "2 people searched, threshold 4.60 for a prior of 0.01; of strangers at most 2 % are taken for somebody" in said
    )
    assert "(extrapolated, not measured: 2 times the 1 % of one person)" in said
    assert "is not stated: " in voxanchor("identify", *common, "--prior", "0.9").out
    rate = voxanchor("identify", *common, "--false-acceptance", "2").out
    assert "2 people searched, threshold 0.00; of strangers at most 2 %" in rate
    assert (
        "the lowest rate that it supports is 2 %"
        in voxanchor("identify", *common, "--false-acceptance", "1", status=2).err
    )
    unsure = voxanchor("identify", *common, "--certainty", "0.9999999999", status=11).out
    assert unsure.startswith("nobody")
    assert "note: verified as Ada it would be accepted" in unsure


def test_people_are_listed_shown_and_deleted(voxanchor: Command, store: Path) -> None:
    where: Sequence[str | Path] = ("--store", store)
    listed = voxanchor("people", "list", *where)
    assert re.search(r"1 recording, last [0-9-]{10}, model [0-9a-f]{16}$", listed.out, re.MULTILINE)
    assert "Ada  2 recordings" in listed.out
    assert "2 people" in listed.out
    assert [set(person) for person in voxanchor("people", "list", *where, "--json").json] == [PERSON, PERSON]
    shown = voxanchor("people", "show", "Ada", *where).out
    assert re.search(r" dB, model [0-9a-f]{16}", shown)
    assert shown.count("by desk  ada.wav") == 2
    assert "audio kept" in shown
    enrolments = voxanchor("people", "show", "Bob", *where, "--json").json
    assert set(enrolments[0]) == ENROLMENT
    assert "Ada: 2 recordings deleted" in voxanchor("people", "delete", "Ada", *where).out
    for command in ("show", "delete"):
        assert "Ada" in voxanchor("people", command, "Ada", *where, status=10).err
    assert "1 person" in voxanchor("people", "list", *where).out


def test_people_move_to_another_store_in_clear_or_sealed(voxanchor: Command, store: Path, tmp_path: Path) -> None:
    file, key, other = tmp_path / "people.export", tmp_path / "key", tmp_path / "other.db"
    assert "in clear" in voxanchor("people", "export", "--out", file, "--store", store).out
    assert "3 recordings added" in voxanchor("people", "import", file, "--store", other).out
    assert "3 there already" in voxanchor("people", "import", file, "--store", other).out
    voxanchor("people", "key", "--out", key)
    sealed = tmp_path / "sealed.export"
    assert "in clear" not in voxanchor("people", "export", "--out", sealed, "--store", store, "--out-key", key).out
    third = tmp_path / "third.db"
    voxanchor("people", "import", sealed, "--store", third, status=10)
    voxanchor("people", "import", sealed, "--store", third, "--file-key", key)
    names = [person["name"] for person in voxanchor("people", "list", "--store", third, "--json").json]
    assert names == ["Ada", "Bob"]


def test_a_key_is_for_its_owner_alone_and_never_replaced(voxanchor: Command, tmp_path: Path) -> None:
    voxanchor("people", "key", "--out", tmp_path / "key")
    content = (tmp_path / "key").read_text()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert "is not replaced" in voxanchor("people", "key", "--out", tmp_path / "key", status=5).err
    assert (tmp_path / "key").read_text() == content
    voxanchor("people", "key", "--out", tmp_path / "key" / "key", status=5)  # a file in the place of a folder


def test_an_encrypted_store_opens_with_its_key_alone(voxanchor: Command, place: Path, tmp_path: Path) -> None:
    store, key, wrong = tmp_path / "people.db", tmp_path / "key", tmp_path / "wrong"
    for path in (key, wrong):
        voxanchor("people", "key", "--out", path)
    common: list[str | Path] = ["--model", place / "model", "--store", store]
    voxanchor("enroll", "Ada", place / "ada.wav", *common, "--key", key)
    assert voxanchor("verify-as", "Ada", place / "ada.wav", *common, "--key", key).out.startswith("accepted")
    for given in ((), ("--key", wrong), ("--key", tmp_path / "no such key")):
        voxanchor("verify-as", "Ada", place / "ada.wav", *common, *given, status=10)
        voxanchor("identify", place / "ada.wav", *common, *given, status=10)
        voxanchor("enroll", "Bob", place / "bob.wav", *common, *given, status=10)
        voxanchor("people", "list", "--store", store, *given, status=10)
        voxanchor("people", "delete", "Ada", "--store", store, *given, status=10)
    assert [item["name"] for item in voxanchor("people", "list", "--store", store, "--key", key, "--json").json] == [
        "Ada"
    ]


def test_a_read_makes_no_store(voxanchor: Command, place: Path, tmp_path: Path) -> None:
    store, model = tmp_path / "mistyped.db", ("--model", place / "model")
    ada, where = place / "ada.wav", ("--store", store)
    for command in (
        ("verify-as", "Ada", ada, *model, *where),
        ("identify", ada, *model, *where),
        ("people", "list", *where),
        ("people", "show", "Ada", *where),
        ("people", "delete", "Ada", *where),
        ("people", "export", "--out", tmp_path / "out", *where),
        ("people", "log", *where),
        ("people", "upgrade", "--model", place / "newer", *where),
        ("people", "reembed", *model, *where),
    ):
        assert "no such store" in voxanchor(*command, status=10).err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_refused(voxanchor: Command, place: Path, tmp_path: Path) -> None:
    (tmp_path / "people.db").write_text("a letter, and no store at all\n" * 20)
    before = (tmp_path / "people.db").read_bytes()
    voxanchor("people", "list", "--store", tmp_path / "people.db", status=10)
    voxanchor(
        "enroll", "Ada", place / "ada.wav", "--model", place / "model", "--store", tmp_path / "people.db", status=10
    )
    assert (tmp_path / "people.db").read_bytes() == before


def test_another_model_takes_over_by_kept_audio_or_by_its_map(voxanchor: Command, place: Path, store: Path) -> None:
    ada, bob, newer = place / "ada.wav", place / "bob.wav", ("--model", place / "newer", "--store", store)
    assert "model" in voxanchor("verify-as", "Ada", ada, *newer, status=10).err
    done = voxanchor("people", "reembed", *newer)
    assert "2 recordings embedded anew" in done.out
    assert "enrol again: Bob" in done.out
    assert voxanchor("verify-as", "Ada", ada, *newer).out.startswith("accepted")
    again = voxanchor("people", "reembed", *newer, "--json").json
    assert again == {"done": 0, "without_audio": ["Bob"], "failed": []}
    voxanchor("verify-as", "Bob", bob, *newer, status=10)
    assert "1 recording of the model" in voxanchor("people", "upgrade", *newer).out
    voxanchor("verify-as", "Bob", bob, *newer, status=11)  # the map of this test is none
    no_map = voxanchor("people", "upgrade", "--model", place / "model", "--store", store, status=4).err
    assert "enrolment_map.safetensors" in no_map


@pytest.mark.parametrize(
    "command",
    [
        *(("calibrate",), ("verify",), ("enroll",), ("verify-as",), ("identify",)),
        *(
            ("people", name)
            for name in ("list", "show", "delete", "export", "import", "log", "key", "upgrade", "reembed")
        ),
    ],
    ids=" ".join,
)
def test_help_shows_an_example(voxanchor: Command, command: tuple[str, ...]) -> None:
    assert f"\n  voxanchor {' '.join(command)} " in voxanchor(*command, "--help").out


def test_help_names_the_group_and_the_exit_status(voxanchor: Command) -> None:
    everything = " ".join(voxanchor("--help").out.split())
    for name in ("calibrate", "enroll", "verify-as", "identify", "people"):
        assert name in everything
    assert "11 rejected" in everything
    assert "delete" in voxanchor("people", "--help").out


def test_a_first_use_that_fails_leaves_no_store(voxanchor: Command, place: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 16_000)
    voxanchor("enroll", "Ada", silent, "--model", place / "model", "--store", new, status=3)
    voxanchor("people", "import", silent, "--store", new, status=10)
    assert [path.name for path in tmp_path.iterdir()] == ["silent.wav"]


@pytest.mark.parametrize(
    "line",
    [
        "verify A B",
        "enroll Ann A --store STORE",
        "verify-as Ann A --store MADE",
        "identify A --store MADE",
        "people reembed --store MADE",
        "embed A --out OUT.safetensors",
        "embed --speech SPEECH --out OUT",
        "serve --store STORE --port 0",
    ],
)
def test_every_command_with_a_model_takes_a_device(
    line: str, voxanchor: Command, voices_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    SpeakerEncoder(CONFIG).save(tmp_path / "m")
    open_store(tmp_path / "made.db").close()
    places = {"A": voices_folder / "s00" / "0.flac", "B": voices_folder / "s00" / "1.flac", "SPEECH": voices_folder}
    places |= {"STORE": tmp_path / "new.db", "MADE": tmp_path / "made.db", "OUT": tmp_path / "out"}
    places["OUT.safetensors"] = tmp_path / "out.safetensors"
    words = [str(places.get(word, word)) for word in line.split()]
    said = voxanchor(*words, "--model", tmp_path / "m", "--device", "cuda", status=2)
    assert said.err.endswith(
        "voxanchor: device 'cuda': no CUDA device here; use --device cpu (device='cpu' in Python)\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "made.db"]
