"""Halves of a noise folder by the parity of the number in a name."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.corpus.layouts import in_part, noise_folder, number_of, split_part, with_part
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.workflows.pack import pack

NAMES = (
    "noise/free-sound/noise-free-sound-0000.wav",
    "noise/free-sound/noise-free-sound-0001.wav",
    "noise/sound-bible/noise-sound-bible-0012.wav",
    "music/fma/music-fma-0042.wav",
    "music/hd-classical/music-hd-0007.wav",
    "speech/us-gov/speech-us-gov-0003.wav",
    "speech/librivox/speech-librivox-0100.wav",
)


@pytest.fixture
def musan(tmp_path: Path) -> Path:
    folder = tmp_path / "musan"
    for i, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal(8000), 16_000)
    return folder


def clips(reference: str) -> list[str]:
    found = noise_folder(reference)
    return [Path(clip.path).stem for clip in (*found.noise, *found.music, *found.speech)]


def test_even_and_odd_share_the_folder_out(musan: Path) -> None:
    even, odd = clips(f"{musan}::even"), clips(f"{musan}::odd")
    assert even == ["noise-free-sound-0000", "noise-sound-bible-0012", "music-fma-0042", "speech-librivox-0100"]
    assert odd == ["noise-free-sound-0001", "music-hd-0007", "speech-us-gov-0003"]
    assert sorted(even + odd) == sorted(clips(str(musan))) == sorted(clips(f"{musan}::all"))


def test_a_pack_has_halves_too(musan: Path, tmp_path: Path) -> None:
    pack([tmp_path / "pack"], noise=str(musan))
    found = noise_folder(f"{tmp_path / 'pack'}::odd")
    assert (len(found.noise), len(found.music), len(found.speech)) == (1, 1, 1)
    pack([tmp_path / "half"], noise=f"{musan}::even")
    assert len(noise_folder(tmp_path / "half").noise) == 2


def test_a_file_without_a_number_is_named(musan: Path) -> None:
    soundfile.write(musan / "noise" / "street.wav", 0.1 * np.tile([1, -1], 4000), 16_000)
    with pytest.raises(CorpusError, match=r"1 of 8 files have no number .*\n  noise/street\.wav\nGive each a number"):
        noise_folder(f"{musan}::even")
    assert len(noise_folder(musan).noise) == 4


def test_a_half_that_is_empty_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise-0001.wav", 0.1 * np.ones(8000), 16_000)
    with pytest.raises(CorpusError, match="none of its files has an even number"):
        noise_folder(f"{tmp_path}::even")


def test_names_and_spelling(tmp_path: Path) -> None:
    assert [number_of(name) for name in ("music-fma-0042.wav", "a2/b-07-x.wav", "x3/street.wav")] == [42, 7, None]
    assert with_part("musan", "all") == "musan"
    assert split_part(with_part("data/musan", "odd")) == (Path("data/musan"), "odd")
    assert split_part("odd::even/musan") == (Path("odd::even/musan"), "all")
    with pytest.raises(RecipeError, match="Did you mean 'odd'"):
        split_part("musan::od")
    (tmp_path / "a::b").mkdir()
    assert split_part(tmp_path / "a::b") == (tmp_path / "a::b", "all")
    assert in_part(["a", "b1"], "all", "x") == [True, True]
