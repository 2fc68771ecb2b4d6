"""The noise that the service can add to a recording."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence

from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.clips import ClipCache
from voxanchor.audio.music import SyntheticMusic
from voxanchor.audio.sources import RecordedNoise
from voxanchor.audio.synthetic import SyntheticNoise
from voxanchor.corpus.layouts import noise_folder, scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import MissingExtraError
from voxanchor.evaluation.background import noise_bank

TALKERS = 8


@contextlib.contextmanager
def backgrounds(folders: Sequence[str]) -> Iterator[NoiseBank]:
    """Give ``noise``, ``music`` and ``babble``, from folders in MUSAN layout or built in.

    Babble needs people who talk: where no folder has ``speech``, synthetic voices, which need the extra ``synthetic``.
    Without either there is no babble.

    Raises:
        CorpusError: a folder that cannot be used.
    """
    with contextlib.ExitStack() as stack:
        talkers = Manifest(())
        if not any(noise_folder(folder).speech for folder in folders):
            voices = stack.enter_context(tempfile.TemporaryDirectory(prefix="voxanchor-talkers-"))
            try:
                talkers = _talkers(voices)
            except MissingExtraError:
                yield _without_babble(folders)
                return
        yield noise_bank(folders, talkers, built_in_share=0.0, for_evaluation=True)


def _talkers(folder: str) -> Manifest:
    from voxanchor.corpus.synthetic import generate

    generate(folder, TALKERS, 2)
    return scan(folder)


def _without_babble(folders: Sequence[str]) -> NoiseBank:
    found, cache = [noise_folder(folder) for folder in folders], ClipCache()
    noise = [clip for folder in found for clip in folder.noise]
    music = [clip for folder in found for clip in folder.music]
    return NoiseBank(
        {
            "noise": RecordedNoise(noise, cache) if noise else SyntheticNoise(),
            "music": RecordedNoise(music, cache) if music else SyntheticMusic(seed=1),
        }
    )
