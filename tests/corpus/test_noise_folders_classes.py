"""Classes of noise, read off the names of folders and files."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.corpus.layouts import noise_folder
from voxanchor.corpus.noise_folders import classes_in, noise_class
from voxanchor.errors import CorpusError
from voxanchor.workflows.pack import pack


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("noise/esc10-person_sneeze-1-26143-A.flac", "esc10-person_sneeze"),
        ("noise/household-running_tap-running_tap.flac", "household-running_tap-running_tap"),
        ("noise/n12.wav", "n"),
        ("n12.wav", "n"),
        ("noise/free-sound/noise-free-sound-0001.wav", "free-sound"),
        ("a/noise/Heavy Rain/b/1.wav", "heavy-rain"),
        ("cars/1.wav", "cars"),
        ("noise/12.wav", "unnamed"),
        ("noise/1-2.wav", "unnamed"),
        ("noise/é.wav", "unnamed"),
        ("noise/3rd floor/x.wav", "unnamed-3rd-floor"),
        ("noise/a--b__c.wav", "a-b_c"),
    ],
)
def test_a_class_is_a_folder_or_the_beginning_of_a_name(name: str, expected: str) -> None:
    assert noise_class(name) == expected


@given(st.text(st.characters(blacklist_characters="/\0"), min_size=1))
def test_every_name_gives_a_kind(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*", noise_class(f"noise/{name}.wav"))


def test_a_folder_and_its_pack_hold_the_same_classes(tmp_path: Path) -> None:
    for name in ("noise/rain/1.wav", "noise/wind-1-2.wav", "music/piano/1.wav"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(8_000), 16_000)
    pack([tmp_path / "pack"], noise=str(tmp_path / "clips"))
    for folder in (tmp_path / "clips", tmp_path / "pack"):
        assert classes_in(folder) == {"rain", "wind"}
        found = noise_folder(folder)
        assert found.names == ("noise/rain/1.wav", "noise/wind-1-2.wav")
        assert [clip.name for clip in found.noise] == ["1.wav", "wind-1-2.wav"]
    with pytest.raises(CorpusError, match="no such folder"):
        classes_in(tmp_path / "absent")


def test_the_halves_of_a_folder_have_their_own_classes(tmp_path: Path) -> None:
    for name in ("rain-0001.wav", "rain-0002.wav", "dog-0004.wav"):
        path = tmp_path / "noise" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert classes_in(f"{tmp_path}::even") == {"rain", "dog"}
    assert classes_in(f"{tmp_path}::odd") == {"rain"}
