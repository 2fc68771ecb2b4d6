"""Synthetic speakers through eSpeak NG, for machines without recordings.

Ranges follow adult speech: median pitch about 110 Hz (men) and 200 Hz (women), formants about 15 % higher in women
(Hillenbrand et al. 1995, J. Acoust. Soc. Am. 97), 130 to 200 words a minute.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np

import voxanchor
from voxanchor.audio import io, snr
from voxanchor.audio.resampling import resampled
from voxanchor.errors import OutputError, RecipeError, VoxanchorError
from voxanchor.extras import missing
from voxanchor.files import temporary_folder, write_text, writing
from voxanchor.rng import generator
from voxanchor.runtime import Advance
from voxanchor.types import SAMPLE_RATE, Waveform

ACCENTS = (
    "en-us",
    "en",  # British
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
"""eSpeak NG's English voices: American, British, Scottish, Received Pronunciation, Lancashire, West Midlands,
Caribbean, New York City."""

_FORMANTS = 9  # eSpeak numbers them 0 (below the first formant) to 8
_TILT_POINTS_HZ = (600, 1200, 2000, 3000)


@dataclass(frozen=True)
class Voice:
    """One speaker of the synthesiser.

    Attributes:
        accent: eSpeak NG language the voice speaks.
        pitch_hz: the voice's low and high pitch.
        formants_percent: frequency of formants 0 to 8 against eSpeak's own voice (100 = unchanged).
        heights_percent: strength of the same formants.
        widths_percent: bandwidth of the same formants.
        tilt_percent: strength of the spectrum at 600, 1200, 2000 and 3000 Hz.
        breath_percent: amount of breath noise at the formants.
        flutter: how unsteady the pitch is (eSpeak's default is 2).
        rate_wpm: words a minute.
        intonation: eSpeak's tune of a sentence, 1 to 4.
        stress_ms: lengthening of stressed syllables, in eSpeak's units.
    """

    accent: str
    pitch_hz: tuple[float, float]
    formants_percent: tuple[float, ...]
    heights_percent: tuple[float, ...]
    widths_percent: tuple[float, ...]
    tilt_percent: tuple[float, ...]
    breath_percent: float
    flutter: float
    rate_wpm: float
    intonation: int
    stress_ms: float

    def vary(self, generator: np.random.Generator) -> "Voice":
        """Return the same speaker on another occasion: pitch, rate, effort and articulation a little different."""
        low, high = self.pitch_hz
        shift = float(np.exp(generator.normal(0.0, 0.05)))
        span = (high - low) * float(np.exp(generator.normal(0.0, 0.15)))
        effort = float(generator.normal(0.0, 6.0))
        return replace(
            self,
            pitch_hz=(low * shift, low * shift + span),
            formants_percent=tuple(f * float(generator.normal(1.0, 0.008)) for f in self.formants_percent),
            tilt_percent=tuple(
                max(t + effort * float(np.log2(hz / 600)), 20.0)
                for t, hz in zip(self.tilt_percent, _TILT_POINTS_HZ, strict=True)
            ),
            breath_percent=max(self.breath_percent + float(generator.normal(0.0, 1.0)), 0.0),
            rate_wpm=self.rate_wpm * float(np.exp(generator.normal(0.0, 0.06))),
        )

    def variant(self) -> str:
        """Return the text of the eSpeak NG voice-variant file that gives this voice."""
        low, high = self.pitch_hz
        lines = ["language variant", "name speaker", f"pitch {low:.0f} {high:.0f}", f"flutter {self.flutter:.0f}"]
        lines += [
            f"formant {i} {frequency:.0f} {height:.0f} {width:.0f}"
            for i, (frequency, height, width) in enumerate(
                zip(self.formants_percent, self.heights_percent, self.widths_percent, strict=True)
            )
        ]
        tone = " ".join(f"{hz} {t:.0f}" for hz, t in zip(_TILT_POINTS_HZ, self.tilt_percent, strict=True))
        lines.append(f"tone {tone}")
        if round(self.breath_percent) > 0:
            lines.append("breath " + " ".join([f"{self.breath_percent:.0f}"] * 8))
        lines.append(f"intonation {self.intonation}")
        lines.append(f"stressAdd 0 0 0 0 0 0 {round(self.stress_ms)} {round(self.stress_ms)}")
        return "\n".join(lines) + "\n"


def draw_voice(generator: np.random.Generator) -> Voice:
    """Return a new speaker, half of them with a man's pitch and vocal tract, half with a woman's."""
    high_voice = bool(generator.random() < 0.5)
    low_hz = (165.0 if high_voice else 88.0) * float(np.exp(generator.normal(0.0, 0.16)))
    span = float(generator.uniform(1.25, 1.75))  # from a flat to a lively speaker
    tract = (1.13 if high_voice else 0.98) * float(np.exp(generator.normal(0.0, 0.055)))
    formants = 100.0 * tract * generator.normal(1.0, 0.035, _FORMANTS)
    heights = np.clip(100.0 * np.exp(generator.normal(0.0, 0.18, _FORMANTS)), 55.0, 160.0)
    widths = np.clip(100.0 * np.exp(generator.normal(0.05, 0.2, _FORMANTS)), 60.0, 180.0)
    slope = float(generator.normal(0.0, 14.0))
    tilt = (150.0, 130.0 + slope, 110.0 + 1.7 * slope, 105.0 + 2.3 * slope)
    breathy = bool(generator.random() < 0.5)
    return Voice(
        accent=ACCENTS[int(generator.integers(len(ACCENTS)))],
        pitch_hz=(low_hz, low_hz * span),
        formants_percent=tuple(float(f) for f in np.clip(formants, 75.0, 140.0)),
        heights_percent=tuple(float(h) for h in heights),
        widths_percent=tuple(float(w) for w in widths),
        tilt_percent=tuple(float(max(t, 30.0)) for t in tilt),
        breath_percent=float(generator.uniform(3.0, 25.0)) if breathy else 0.0,
        flutter=float(generator.uniform(0.0, 10.0)),
        rate_wpm=float(np.clip(generator.normal(165.0, 22.0), 120.0, 225.0)),
        intonation=int(generator.integers(1, 5)),
        stress_ms=float(generator.uniform(-30.0, 60.0)),
    )


# eSpeak NG through its C interface: text and a voice in, waveform out.
#
# The library keeps its state in globals that survive even its own termination (the phase of the pitch flutter, the last
# voice, the random numbers of the breath), so a second engine in one process would speak differently from the first.
# `Engine` therefore loads a private copy of the library; and it keeps a private copy of the few data files English
# needs, in which one voice-variant file is rewritten for every voice: loading hundreds of variant files would overflow
# eSpeak's table of voices.

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


# Varied English sentences from a seeded grammar, so that no two synthetic utterances need share their words.


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for phrase in text.replace("\n", " ").split("|")]


_NAMES = _words("""
Adam Alice Amir Anna Arthur Beatrice Ben Carla Chen Clara Daniel Diana Edward Elena Emma Felix Fiona George
Grace Hannah Hugo Ingrid Isaac Ivan Jasmine Joseph Julia Kamal Laura Leo Lucy Maria Martin Mei Naomi Nina Oliver Omar
Paula Peter Rachel Ravi Rosa Samuel Sofia Thomas Victor Wendy Yusuf Zoe""")
_PEOPLE = _words("""
teacher doctor farmer neighbour painter sailor student baker driver engineer gardener judge lawyer manager
musician nurse officer pilot reporter scientist shepherd singer soldier stranger tailor visitor waiter writer uncle
cousin grandmother brother captain dentist carpenter librarian""")
_THINGS = _words("""
apple basket bicycle blanket book bottle bridge bucket camera candle carpet chair clock coat computer cup
curtain diary door engine envelope feather fence flag flower garden gate guitar hammer hat helmet jacket jar kettle key
ladder lamp letter machine map mirror needle newspaper notebook orange package painting pencil photograph piano pillow
picture pocket purse radio ribbon ring rope saddle scarf shield ship shoe shovel spoon stamp suitcase table telephone
ticket towel treasure umbrella vase violin wagon wallet watch wheel whistle window zipper""")
_ADJECTIVES = _words("""
ancient beautiful blue bright broken busy careful cheap clever cold crooked curious dark deep dusty
early empty enormous faithful famous fresh gentle golden green heavy hollow honest large lazy little lonely loud lucky
narrow new nervous noisy old orange pale patient perfect polite precious proud purple quick quiet red rough rusty shiny
silent silver simple sleepy small smooth soft strange sudden sweet tall thick tiny warm weak white wide wise wooden
yellow young""")
_VERBS = _words("""
bought borrowed brought carried caught chose cleaned counted covered described discovered drew dropped
examined finished fixed followed forgot found gathered gave hid held ignored kept left lifted lost measured mentioned
moved needed noticed offered opened ordered packed painted passed placed pulled pushed reached recognised remembered
repaired returned sent shook showed sold stole took threw touched understood used visited wanted washed watched
wrapped""")
_MOTIONS = _words("""
arrived climbed disappeared drove flew hurried jumped marched paused ran rode rushed sailed slept stood
stumbled swam travelled waited walked wandered whispered worked""")
_PLACES = _phrases("""
behind the station|beside the river|near the old harbour|under the bridge|across the valley|in the kitchen
|at the market|in front of the museum|on the northern road|over the hills|through the forest|inside the cathedral
|outside the village|by the fireplace|along the beach|between two towers|next to the bakery|in the middle of the square
|above the clouds|at the edge of the desert|around the corner|below the balcony|beyond the mountains|on the island
|in the school yard|at the airport|inside the warehouse|on the third floor""")
_TIMES = _phrases("""
yesterday morning|last winter|on Thursday evening|before sunrise|after the concert|at half past seven
|during the storm|once a week|every other summer|late at night|just in time|for several hours|a few minutes ago
|in the spring of that year|on the first day of June|until the bell rang|shortly before noon|long ago
|at the beginning of August|while it was raining""")
_ADVERBS = _words("""
quietly slowly carefully suddenly happily easily usually politely secretly gladly hardly often rarely
proudly quickly again together alone almost finally""")
_LINKS = _words("and but because although so while before after until unless whenever")
_OPENERS = _phrases("""
Nobody knew that|It is true that|Everyone says that|I remember how|Do you think that|We were told that
|Perhaps|They never believed that|It seems that|Please tell me whether|She wrote that|He promised that
|The paper reported that|In the end""")
_NUMBERS = _words("""
two three four five six seven eight nine ten eleven twelve thirteen fifteen eighteen twenty thirty forty
fifty sixty ninety""")


def _pick(words: list[str], generator: np.random.Generator) -> str:
    return words[int(generator.integers(len(words)))]


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("ch", "sh", "s", "x")) else f"{noun}s"


def _thing(generator: np.random.Generator) -> str:
    adjective, noun = _pick(_ADJECTIVES, generator), _pick(_THINGS, generator)
    form = int(generator.integers(5))
    if form == 0:
        return _article(f"{adjective} {noun}")
    if form == 1:
        return f"{_pick(_NUMBERS, generator)} {adjective} {_plural(noun)}"
    if form == 2:
        return f"the {_pick(_PEOPLE, generator)}'s {noun}"
    return f"the {adjective} {noun}"


def _person(generator: np.random.Generator) -> str:
    form = int(generator.integers(3))
    if form == 0:
        return _pick(_NAMES, generator)
    if form == 1:
        return f"the {_pick(_ADJECTIVES, generator)} {_pick(_PEOPLE, generator)}"
    return f"{_pick(_NAMES, generator)} and the {_pick(_PEOPLE, generator)}"


def _clause(generator: np.random.Generator) -> str:
    words = [_person(generator)]
    if generator.random() < 0.3:
        words.append(_pick(_ADVERBS, generator))
    if generator.random() < 0.7:
        words += [_pick(_VERBS, generator), _thing(generator)]
    else:
        words.append(_pick(_MOTIONS, generator))
    if generator.random() < 0.6:
        words.append(_pick(_PLACES, generator))
    if generator.random() < 0.4:
        words.append(_pick(_TIMES, generator))
    return " ".join(words)


def sentence(generator: np.random.Generator, words: int) -> str:
    """Return an English sentence of at least ``words`` words, ending in a full stop (about one clause more at most).

    Args:
        generator: decides every word.
        words: the fewest words it may have.
    """
    text = _clause(generator)
    if generator.random() < 0.25:
        text = f"{_pick(_OPENERS, generator)} {text}"
    while len(text.split()) < words:
        text = f"{text}, {_pick(_LINKS, generator)} {_clause(generator)}"
    return f"{text[0].upper()}{text[1:]}."


# Worker process of `voxanchor.corpus.voices`: a job on standard input, finished speakers on standard output.
#
# A process of its own because eSpeak NG is not re-entrant; ``python -m voxanchor.corpus.voices``.

DURATION_S = (3.0, 6.0)
"""Shortest and longest utterance."""

_LEVEL_DB, _LEVEL_SPREAD_DB = -26.0, 2.5
_MARGIN_S = 0.1
_SETTLING_S = 0.4  # what eSpeak adds around and between sentences


def speaker_name(index: int) -> str:
    """Return the folder name of the speaker with this number."""
    return f"voice{index:04d}"


def _trimmed(waveform: Waveform) -> Waveform:
    loud = np.flatnonzero(np.abs(waveform) > 1e-3 * float(np.abs(waveform).max()))
    margin = round(_MARGIN_S * SAMPLE_RATE)
    return waveform[max(int(loud[0]) - margin, 0) : int(loud[-1]) + 1 + margin]


def _utterance(engine: Engine, voice: Voice, random: np.random.Generator) -> Waveform:
    occasion = voice.vary(random)
    while True:  # a draw lands in the range four times in five
        seconds = float(random.uniform(DURATION_S[0] + 0.2, DURATION_S[1] - 1.4))
        words = max(int((seconds - _SETTLING_S) * occasion.rate_wpm / 60.0), 3)
        waveform = _trimmed(engine.speak(sentence(random, words), occasion))
        if DURATION_S[0] <= len(waveform) / SAMPLE_RATE <= DURATION_S[1]:
            break
    gain_db = float(random.normal(_LEVEL_DB, _LEVEL_SPREAD_DB)) - snr.active_level_db(waveform)
    gain = min(10.0 ** (gain_db / 20.0), 0.99 / float(np.abs(waveform).max()))
    return np.asarray(waveform * np.float32(gain), dtype=np.float32)


def speak_speaker(folder: Path, index: int, utterances: int, seed: int) -> None:
    """Write every utterance of one speaker to ``folder/<speaker>/<n>.flac``; the speaker's folder appears complete.

    Args:
        folder: of the corpus.
        index: number of the speaker.
        utterances: how many to make.
        seed: of the corpus; speaker ``index`` of one seed is always the same person saying the same things.
    """
    name = speaker_name(index)
    unfinished = folder / f".{name}"  # hidden: no scan takes half a speaker for a whole one
    shutil.rmtree(unfinished, ignore_errors=True)
    voice = draw_voice(generator(seed, 0, index, "synthetic/voice"))
    try:
        with writing(folder), Engine(seed=1 + index) as engine:
            unfinished.mkdir(parents=True)
            for n in range(utterances):
                random = generator(seed, 0, f"{index}/{n}", "synthetic/utterance")
                io.write(unfinished / f"{n:03d}.flac", _utterance(engine, voice, random))
            unfinished.rename(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    """Speak the speakers of the job that arrives on standard input, one line of output for each when it is done.

    An error that can be mended is a last line of output: standard error goes to a file, for which there may be no room.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the engine's private files are removed on the way out
    job = json.load(sys.stdin)
    try:
        for index in job["speakers"]:
            speak_speaker(Path(job["folder"]), index, job["utterances"], job["seed"])
            print(index, flush=True)
    except VoxanchorError as error:
        print(json.dumps(str(error)), flush=True)
        sys.exit(error.exit_code)


# A corpus of synthetic speakers on a machine that has no recordings: eSpeak NG with a new voice for every speaker.

MARKER = "synthetic.json"
"""File in the corpus folder that says what the corpus was made from, and whether it is complete."""

_FORMAT = 1  # raised whenever the same parameters would give other audio
_MOST_PER_PROCESS = 50  # an engine per speaker leaves a few hundred kilobytes behind in its process


def _write_marker(folder: Path, parameters: dict[str, object]) -> None:
    write_text(folder / MARKER, json.dumps(parameters, indent=2) + "\n")


def _found(folder: Path, wanted: dict[str, object]) -> dict[str, object] | None:
    marker = folder / MARKER
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; synthetic voices need a folder. Choose another one")
    if not marker.exists():
        if any(folder.iterdir()):
            raise OutputError(f"{folder} holds files that are not synthetic voices; choose an empty folder")
        return None
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        differing = [f"{key} {found.get(key)} (asked: {value})" for key, value in wanted.items() if found[key] != value]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise OutputError(f"{marker} cannot be read; delete {folder} or choose another folder") from None
    if differing:
        raise OutputError(
            f"{folder} holds synthetic voices made with {', '.join(differing)}; delete it or choose another folder"
        )
    return dict(found)


def _jobs(folder: Path, missing: list[int], utterances: int, seed: int, workers: int) -> Iterator[dict[str, object]]:
    size = min(_MOST_PER_PROCESS, -(-len(missing) // workers))
    for start in range(0, len(missing), size):
        yield {
            "folder": str(folder.absolute()),
            "speakers": missing[start : start + size],
            "utterances": utterances,
            "seed": seed,
        }


class _Workers:
    """The processes that speak, one per job, and what they report."""

    def __init__(self) -> None:
        self.reports: Queue[int | BaseException | None] = Queue()
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def run(self, job: dict[str, object]) -> None:
        """Put each speaker's number on the queue as its process reports it, then None; or the error that ended it."""
        try:
            self._run(job)
            self.reports.put(None)
        except BaseException as error:
            self.reports.put(error)

    def _run(self, job: dict[str, object]) -> None:
        environment = dict(os.environ)
        here = str(Path(voxanchor.__file__).parents[1])  # the child finds this package, however it was found here
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "voxanchor.corpus.voices"]
        with (
            writing("the folder for temporary files (TMPDIR)"),
            tempfile.TemporaryFile("w+") as complaints,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
            ) as process,
        ):
            self._processes.append(process)
            if self._stopped:
                process.terminate()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # a process that failed at once says so below
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            said = ""
            for line in process.stdout:
                report = json.loads(line)
                if isinstance(report, str):
                    said = report
                else:
                    self.reports.put(report)
            status = process.wait()
            complaints.seek(0)
            said = said or (complaints.read().strip().splitlines() or [f"exit status {status}"])[-1]
        if status != 0:
            kind = OutputError if status == OutputError.exit_code else VoxanchorError
            raise kind(f"making synthetic voices in {job['folder']} failed: {said}")

    def stop(self) -> None:
        """End every process, and those about to start."""
        self._stopped = True
        for process in self._processes:
            process.terminate()


def generate(
    folder: Path | str,
    speakers: int,
    utterances_per_speaker: int,
    seed: int = 0,
    progress: Advance | None = None,
) -> Path:
    """Return ``folder``, filled with ``<speaker>/<n>.flac``: 16 kHz mono, 3 to 6 s each, active level about -26 dBFS.

    Every speaker has a pitch, pitch range, formants, spectral tilt, accent, rate and breathiness of its own
    (`voxanchor.corpus.voices.draw_voice`); each utterance is another sentence on another occasion (pitch, rate,
    articulation and level vary a little). The same parameters give the same files. A finished folder is reused at
    once; a run that was killed goes on where it stopped, a speaker at a time.

    Args:
        folder: where the corpus goes; new, empty, or made by the same call before.
        speakers: how many, any number from 1.
        utterances_per_speaker: how many each, from 1.
        seed: of everything random; another seed gives other speakers.
        progress: called with the number of utterances finished since its last call, in the calling thread.

    Raises:
        RecipeError: if a count is below 1.
        OutputError: if the folder holds something else, or voices made with other parameters, or cannot be written.
        MissingExtraError: if the extra ``synthetic`` is not installed (a finished folder needs it no more).
    """
    folder = Path(folder)
    for name, value in (("speakers", speakers), ("utterances_per_speaker", utterances_per_speaker)):
        if value < 1:
            raise RecipeError(f"{name} is {value}; it must be at least 1")
    parameters: dict[str, object] = {
        "format": _FORMAT,
        "speakers": speakers,
        "utterances_per_speaker": utterances_per_speaker,
        "seed": seed,
    }
    found = _found(folder, parameters)
    advance = progress or (lambda _count: None)
    if found is not None and found.get("complete"):
        advance(speakers * utterances_per_speaker)
        return folder
    parameters["engine"] = f"eSpeak NG {engine_version()}"
    if found is not None:
        _found(folder, parameters)  # half a corpus of one engine is not completed by another
    else:
        with writing(folder, "made"):
            folder.mkdir(parents=True, exist_ok=True)
        _write_marker(folder, parameters | {"complete": False})
    missing = [index for index in range(speakers) if not (folder / speaker_name(index)).exists()]
    advance((speakers - len(missing)) * utterances_per_speaker)
    count = min(os.cpu_count() or 1, 8)
    jobs = list(_jobs(folder, missing, utterances_per_speaker, seed, count)) if missing else []
    workers = _Workers()
    with ThreadPoolExecutor(count) as pool:
        try:
            for job in jobs:
                pool.submit(workers.run, job)
            running = len(jobs)
            while running:
                message = workers.reports.get()
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    running -= 1
                else:
                    advance(utterances_per_speaker)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            workers.stop()
            raise
    _write_marker(folder, parameters | {"complete": True})
    return folder


if __name__ == "__main__":
    main()
