"""The noise that the service can add to a recording."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voxanchor.corpus.layouts import noise_folder, scan
from voxanchor.corpus.manifest import Manifest, log_left_out
from voxanchor.errors import MissingExtraError
from voxanchor.files import temporary_folder

if TYPE_CHECKING:
    from voxanchor.conditions.bank import NoiseBank

TALKERS = 8


class Backgrounds:
    """The noise that a service adds, whose bank is made when it is first drawn from: many services never do.

    Args:
        kinds: of the noise in the bank.
        make: makes the bank.
    """

    def __init__(self, kinds: Sequence[str], make: "Callable[[], NoiseBank]") -> None:
        self.kinds = tuple(kinds)
        self._make = make
        self._lock = threading.Lock()
        self._bank: NoiseBank | None = None

    @property
    def bank(self) -> "NoiseBank":
        """The bank, the same for all threads."""
        with self._lock:
            if self._bank is None:
                self._bank = self._make()
            return self._bank


@contextlib.contextmanager
def backgrounds(folders: Sequence[str]) -> Iterator[Backgrounds]:
    """Give ``noise``, ``music`` and ``babble``, from folders in MUSAN layout or built in.

    Babble needs people who talk: where no folder has ``speech``, synthetic voices, which need the extra ``synthetic``.
    Without either there is no babble.

    Raises:
        CorpusError: a folder that cannot be used.
        OutputError: there is no room for the synthetic voices.
    """
    with contextlib.ExitStack() as stack:
        talkers = Manifest(())
        if not any(noise_folder(folder).speech for folder in folders):
            voices = stack.enter_context(temporary_folder("voxanchor-talkers-"))
            try:
                talkers = _talkers(voices)
            except MissingExtraError:
                yield _made(folders, ("music", "noise"), lambda: _without_babble(folders))
                return
        yield _made(folders, ("babble", "music", "noise"), lambda: _with_babble(folders, talkers))


def _made(folders: Sequence[str], kinds: tuple[str, ...], make: "Callable[[], NoiseBank]") -> Backgrounds:
    found = Backgrounds(kinds, make)
    if folders:
        found.bank  # noqa: B018  # made at once, so that a fault in the folders is an error at the start
    return found


def _with_babble(folders: Sequence[str], talkers: Manifest) -> "NoiseBank":
    from voxanchor.conditions.bank import noise_bank

    return noise_bank(folders, talkers, built_in_share=0.0, for_evaluation=True)


def _talkers(folder: Path) -> Manifest:
    from voxanchor.corpus.voices import generate

    generate(folder, TALKERS, 2)
    return scan(folder)


def _without_babble(folders: Sequence[str]) -> "NoiseBank":
    from voxanchor.audio.noise import ClipCache, RecordedNoise
    from voxanchor.audio.synthetic import SyntheticMusic, SyntheticNoise
    from voxanchor.conditions.bank import NoiseBank

    found, cache = [noise_folder(folder) for folder in folders], ClipCache()
    for folder, clips in zip(folders, found, strict=True):
        log_left_out(folder, clips.unusable)
    noise = [clip for folder in found for clip in folder.noise]
    music = [clip for folder in found for clip in folder.music]
    return NoiseBank(
        {
            "noise": RecordedNoise(noise, cache) if noise else SyntheticNoise(),
            "music": RecordedNoise(music, cache) if music else SyntheticMusic(seed=1),
        }
    )
