"""Folders of room responses: what is usable, what is not and why, and packs of them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio.rooms import load_room
from voxanchor.corpus.layouts import noise_manifest, scan
from voxanchor.corpus.noise_folders import clips_of, describe_rooms, room_clips, room_manifest
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.workflows.pack import check, pack


def test_usable_responses_are_found_and_the_others_listed_with_their_reason(rooms_path: Path) -> None:
    clips, unusable = room_clips(rooms_path)
    assert [clip.name for clip in clips] == ["0.wav", "1.wav", "2.wav"]
    reasons = {Path(item.path).name: item.reason for item in unusable}
    assert set(reasons) == {"silent.wav", "text.wav"}
    assert reasons["silent.wav"].startswith("silent")
    assert "not a readable recording" in reasons["text.wav"]
    assert describe_rooms(room_manifest(rooms_path)) == "3 room responses; 2 recordings left out"
    assert [load_room(clip).rt60_s for clip in clips] == pytest.approx([0.2, 0.5, 0.9], rel=0.12)


def test_a_response_that_ends_too_early_is_listed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.concatenate([np.zeros(8000), np.full(300, 0.5)]), 16_000)
    with pytest.raises(
        CorpusError, match=r"none of the 1 recordings.*\n  short.wav: too short for a room response: 19 ms"
    ):
        room_clips(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no audio"):
        room_clips(tmp_path / "empty")


def test_a_pack_of_rooms_gives_what_the_files_give(rooms_path: Path, tmp_path: Path) -> None:
    packed, _ = pack([tmp_path / "pack"], rooms=str(rooms_path))
    assert packed.kind == "rooms"
    assert check(tmp_path / "pack")[1] == []
    files, stored = (room_manifest(folder) for folder in (rooms_path, tmp_path / "pack"))
    assert stored.unusable == files.unusable
    for one, two in zip(clips_of(files), clips_of(stored), strict=True):
        assert two.stored is not None
        np.testing.assert_array_equal(load_room(one).taps, load_room(two).taps)
    for read in (scan, noise_manifest):
        with pytest.raises(CorpusError, match="is a pack of rooms"):
            read(tmp_path / "pack")
    with pytest.raises(RecipeError, match="--rooms once"):
        pack([tmp_path / "both"], rooms=str(rooms_path), noise=str(rooms_path))
