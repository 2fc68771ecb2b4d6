"""eSpeak NG through its C interface: text and a voice in, waveform out.

The library keeps its state in globals that survive even its own termination (the phase of the pitch flutter, the last
voice, the random numbers of the breath), so a second engine in one process would speak differently from the first.
`Engine` therefore loads a private copy of the library; and it keeps a private copy of the few data files English
needs, in which one voice-variant file is rewritten for every voice: loading hundreds of variant files would overflow
eSpeak's table of voices.
"""

import contextlib
import ctypes
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from voxanchor.audio.resampling import resampled
from voxanchor.corpus.voices import Voice
from voxanchor.errors import VoxanchorError
from voxanchor.extras import missing
from voxanchor.files import temporary_folder, writing
from voxanchor.types import Waveform

_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples go to the callback in the calling thread
_NO_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT
_CHARS_UTF8 = 1
_RATE, _VOLUME = 1, 2  # espeak_PARAMETER
_VOLUME_PERCENT = 60  # of eSpeak's own loudness: strong formants stay clear of its 16-bit ceiling
_VARIANT = "speaker"
_DATA_FILES = ("phontab", "phonindex", "phondata", "intonations", "en_dict")
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _package() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise missing("espeakng_loader", "Making synthetic voices") from None
    return espeakng_loader


def engine_version() -> str:
    """Return the version of the installed eSpeak NG, e.g. ``"1.52.0"``.

    Raises:
        MissingExtraError: if the extra ``synthetic`` is not installed.
    """
    library = ctypes.CDLL(_package().get_library_path())
    library.espeak_Info.restype = ctypes.c_char_p
    return str(library.espeak_Info(None).decode().split()[0])


class Engine:
    """One eSpeak NG with a state of its own; a context manager that removes its private files at the end.

    Two engines that are given the same seed and asked the same things in the same order give the same samples.
    One at a time in a process: the engine is not thread-safe.

    Args:
        seed: of the engine's own random numbers (breath noise).

    Raises:
        MissingExtraError: if the extra ``synthetic`` is not installed.
        VoxanchorError: if the installed eSpeak NG does not start.
        OutputError: there is no room for its private files.
    """

    def __init__(self, seed: int) -> None:
        package = _package()
        source, original = Path(package.get_data_path()), Path(package.get_library_path())
        with contextlib.ExitStack() as stack:
            home = stack.enter_context(temporary_folder("voxanchor-espeak-"))
            data = home / "espeak-ng-data"
            (data / "voices" / "!v").mkdir(parents=True)
            for name in _DATA_FILES:
                shutil.copyfile(source / name, data / name)
            shutil.copytree(source / "lang" / "gmw", data / "lang" / "gmw")
            own = shutil.copyfile(original, home / original.name)
            self._folder = stack.pop_all()
        self._variant = data / "voices" / "!v" / _VARIANT
        self._library = ctypes.CDLL(str(own))
        self._rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(home).encode(), _NO_EXIT))
        if self._rate_hz <= 0:
            raise VoxanchorError(f"eSpeak NG from {original} did not start with its data in {source}; reinstall it")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._chunks: list[Waveform] = []
        self._callback = _CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self._library.espeak_Terminate()
        self._folder.close()

    def _collect(self, samples: Any, count: int, _events: object) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float32) / np.float32(32768.0))
        return 0

    def speak(self, text: str, voice: Voice) -> Waveform:
        """Return ``text`` spoken by ``voice``: (T,) float32 at 16 kHz, with eSpeak's pauses at both ends.

        Raises:
            VoxanchorError: if eSpeak NG refuses the voice or the text.
        """
        with writing(self._variant):
            self._variant.write_text(voice.variant(), encoding="ascii")
        name = f"{voice.accent}+{_VARIANT}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise VoxanchorError(f"eSpeak NG has no voice '{voice.accent}'; reinstall espeakng-loader")
        self._library.espeak_SetParameter(_RATE, round(voice.rate_wpm), 0)
        self._library.espeak_SetParameter(_VOLUME, _VOLUME_PERCENT, 0)
        self._chunks.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded) + 1), 0, 1, 0, _CHARS_UTF8, None, None
        )
        if status != 0 or not self._chunks:
            raise VoxanchorError(f"eSpeak NG could not speak {text!r} (status {status})")
        return resampled(np.concatenate(self._chunks), self._rate_hz)
