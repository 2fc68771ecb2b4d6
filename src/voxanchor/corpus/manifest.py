"""Utterances and their manifest: the one form that every corpus is brought to."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from voxanchor.audio.downmix import Channel, channel_of
from voxanchor.audio.pcm import LruCache, Pcm, Stored, encode, known_usable, load
from voxanchor.audio.resampling import rerated
from voxanchor.corpus.lists import KINDS, OURS, kind_of_list
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.files import ENCODING_ERRORS, printable, replacing
from voxanchor.rng import generator
from voxanchor.runtime import counted, log_line
from voxanchor.types import SAMPLE_RATE, Waveform

_FADE_SAMPLES = 80  # 5 ms: no click where two parts meet


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one recording.

    Attributes:
        path: the file; of a recording in a pack the name it is known by, below the pack's folder.
        start_s: where in the recording it starts.
        duration_s: how long it is; to the end of the recording when None.
        stored: where a pack keeps the recording, the whole of it; None for a file.
        channel: which channel of a file is used.
    """

    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    stored: Stored | None = None
    channel: Channel = "mix"

    def pcm(self) -> Pcm:
        """Return the part in 16 bits, as `voxanchor.audio.pcm.load`."""
        return load(self.path, self.start_s, self.duration_s, self.stored, self.channel)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A stretch of speech by one speaker.

    Attributes:
        id: unique in its manifest; the path inside the corpus folder for a whole file.
        speaker: who speaks; empty when that is not known.
        duration_s: length in seconds.
        parts: what it is made of, in order. Several parts all state their duration.
        session: of the speaker: a video, a chapter, a sub-folder; empty when the layout has none.
        recording: the recording it was cut from. Comparing two pieces of one recording says little about the speaker.
        speed: how fast its parts are played, pitch and tempo together; `duration_s` is the length at that speed.
    """

    id: str
    speaker: str
    duration_s: float
    parts: tuple[Part, ...]
    session: str = ""
    recording: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not self.parts:
            raise CorpusError(f"utterance {self.id} has no parts")
        if len(self.parts) > 1 and any(part.duration_s is None for part in self.parts):
            raise CorpusError(f"utterance {self.id}: of several parts each must state its duration_s")
        if not 0.5 <= self.speed <= 2.0:
            raise CorpusError(f"utterance {self.id}: a speed lies between 0.5 and 2, not at {self.speed}")

    def played_at(self, speed: float) -> "Utterance":
        """Return the utterance `speed` times as fast: another voice, and so another speaker, utterance and recording.

        Speaker augmentation by speed: pitch and formants move with the tempo.
        """
        mark = f"@{speed:g}"
        return replace(
            self,
            id=self.id + mark,
            speaker=self.speaker + mark if self.speaker else "",
            duration_s=self.duration_s / speed,
            recording=self.recording + mark if self.recording else "",
            speed=self.speed * speed,
        )

    def read(self, start_s: float = 0.0, duration_s: float | None = None) -> Waveform:
        """Return (T,) float32 at 16 kHz: the utterance, or a crop of it that decodes only the parts it needs.

        Recordings are read in 16 bits (`voxanchor.audio.pcm.load`), from files as from a pack. Parts follow one
        another without a gap; where two meet, the first fades out and the second fades in over 5 ms.

        Args:
            start_s: where the crop begins, from the beginning of the utterance.
            duration_s: length of the crop; to the end of the utterance when None.

        Raises:
            AudioError: if a file cannot be read, or ends before the crop does.
            CorpusError: if the crop lies outside the utterance.
        """
        if self.speed == 1.0:
            return self._read(start_s, duration_s)
        source = self._read(start_s * self.speed, None if duration_s is None else duration_s * self.speed)
        played = rerated(source, self.speed, 1.0)
        return played if duration_s is None else np.resize(played, _samples(duration_s))

    def pcm(self) -> Pcm:
        """Return the utterance in 16 bits: a slice of a mapped file where it lies in one, and nothing is decoded.

        Raises:
            AudioError: if a file cannot be read.
        """
        if len(self.parts) == 1 and self.speed == 1.0:
            return self.parts[0].pcm()
        return encode(self.read())

    def _read(self, start_s: float, duration_s: float | None) -> Waveform:
        """Return the parts as recorded; times are those of the source."""
        only = self.parts[0]
        if only.duration_s is None:
            return replace(only, start_s=only.start_s + start_s, duration_s=duration_s).pcm().waveform()
        pieces = []
        for part, lead_samples, piece in self._within(start_s, duration_s):
            waveform = piece.pcm().waveform()
            at = np.arange(lead_samples, lead_samples + len(waveform), dtype=np.float32)
            length = _samples(part.duration_s)
            gain = np.ones(len(waveform), dtype=np.float32)
            if part is not self.parts[0]:
                gain = np.minimum(gain, (at + 0.5) / _FADE_SAMPLES)
            if part is not self.parts[-1]:
                gain = np.minimum(gain, np.maximum(length - at - 0.5, 0.0) / _FADE_SAMPLES)
            pieces.append((waveform * gain).astype(np.float32))
        return np.concatenate(pieces)

    def crop(self, start_s: float, duration_s: float) -> tuple[Part, ...]:
        """Return the parts of a stretch of the utterance, for an utterance cut out of this one.

        Raises:
            CorpusError: if the stretch lies outside the utterance.
        """
        only = self.parts[0]
        if only.duration_s is None and (start_s < 0.0 or start_s + duration_s > self.duration_s + 1.0 / SAMPLE_RATE):
            raise self._outside(start_s, duration_s)
        start_s, duration_s = start_s * self.speed, duration_s * self.speed
        if only.duration_s is None:
            return (replace(only, start_s=only.start_s + start_s, duration_s=duration_s),)
        return tuple(piece for _, _, piece in self._within(start_s, duration_s))

    def _within(self, start_s: float, duration_s: float | None) -> list[tuple[Part, int, Part]]:
        """Return (part, samples of it before the crop, the piece of it inside the crop) for every part touched."""
        first = _samples(start_s)
        total = sum(_samples(part.duration_s) for part in self.parts)
        end = total if duration_s is None else min(first + _samples(duration_s), total)
        asked = end if duration_s is None else first + _samples(duration_s)
        if first < 0 or end <= first or asked > total + 1:
            raise self._outside(start_s, duration_s)
        found, position = [], 0
        for part in self.parts:
            length = _samples(part.duration_s)
            low, high = max(first - position, 0), min(end - position, length)
            if low < high:
                start = part.start_s + low / SAMPLE_RATE
                found.append((part, low, replace(part, start_s=start, duration_s=(high - low) / SAMPLE_RATE)))
            position += length
        return found

    def _outside(self, start_s: float, duration_s: float | None) -> CorpusError:
        length = "the rest" if duration_s is None else f"{duration_s:.3f} s"
        return CorpusError(
            f"utterance {self.id} is {self.duration_s:.3f} s long: {length} from {start_s:.3f} s is outside"
        )


def read_known(utterance: Utterance) -> Waveform:
    """Return what `Utterance.read` does of an utterance that was usable when its corpus was scanned.

    Raises:
        AudioError: it cannot be read any more; says what to do.
    """
    with known_usable():
        return utterance.read()


def _samples(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * SAMPLE_RATE)


# Which recordings exist and who speaks in them: the one form that every corpus is brought to.

_SCHEMA_VERSION = 1

_FIELDS = tuple(field.name for field in fields(Utterance))


@dataclass(frozen=True)
class Unusable:
    """A recording that was found and left out, and why."""

    path: str
    reason: str

    @classmethod
    def file(cls, path: Path | str, reason: str) -> "Unusable":
        """Return a file that was found and left out; a manifest can be written whatever bytes its name is made of."""
        return cls(printable(path), reason)


def examples(unusable: Sequence[Unusable], root: Path | str) -> str:
    """Return the first five with their reasons, a line each, called by their paths below `root`."""
    above = os.path.join(printable(root), "")  # noqa: PTH118 - ends with a slash
    return "".join(f"\n  {item.path.removeprefix(above)}: {item.reason}" for item in unusable[:5])


def log_left_out(folder: Path | str, unusable: Sequence[Unusable]) -> None:
    """Say how many files of a folder cannot be used, if any, and why the first five of them cannot."""
    if unusable:
        one = len(unusable) == 1
        count = "1 file cannot be used and is" if one else f"{len(unusable)} files cannot be used and are"
        log_line(f"{printable(folder)}: {count} left out, for example:{examples(unusable, folder)}")


@dataclass(frozen=True)
class Manifest:
    """The utterances of a corpus, in a fixed order.

    Attributes:
        utterances: with ids that are unique.
        unusable: recordings left out.
        root: folder the corpus was found in; empty when there is no single one.
        layout: how it says who speaks, one of `voxanchor.corpus.owners.LAYOUTS`, where it was scanned; not saved.

    Raises:
        CorpusError: if two utterances share an id.
    """

    utterances: tuple[Utterance, ...]
    unusable: tuple[Unusable, ...] = ()
    root: str = ""
    layout: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for utterance in self.utterances:
            if utterance.id in seen:
                raise CorpusError(f"two utterances are called {utterance.id}; give every utterance an id of its own")
            seen.add(utterance.id)

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, sorted; an unknown speaker is not counted."""
        return tuple(sorted({utterance.speaker for utterance in self.utterances if utterance.speaker}))

    @property
    def hours(self) -> float:
        """Length of all utterances together."""
        return sum(utterance.duration_s for utterance in self.utterances) / 3600.0

    def select(self, speakers: Iterable[str]) -> "Manifest":
        """Return the utterances of these speakers only.

        Raises:
            CorpusError: if a speaker is not in the manifest.
        """
        wanted = set(speakers)
        if missing := sorted(wanted - set(self.speakers)):
            raise CorpusError(f"no utterances of speaker {', '.join(missing[:5])} in {self.root or 'the manifest'}")
        return replace(self, utterances=tuple(u for u in self.utterances if u.speaker in wanted))

    def with_voices(self, speeds: Iterable[float]) -> "Manifest":
        """Return the manifest with every utterance added at each of `speeds`, where it counts as another speaker's."""
        added = tuple(utterance.played_at(speed) for speed in speeds for utterance in self.utterances)
        return replace(self, utterances=self.utterances + added)

    def restrict(self, ids: Iterable[str]) -> "Manifest":
        """Return the utterances with these ids only, in the manifest's order.

        Raises:
            CorpusError: if an id is not in the manifest.
        """
        wanted = set(ids)
        kept = tuple(utterance for utterance in self.utterances if utterance.id in wanted)
        if len(kept) < len(wanted):
            missing = sorted(wanted - {utterance.id for utterance in kept})
            raise CorpusError(f"no utterance {', '.join(missing[:5])} in {self.root or 'the manifest'}")
        return replace(self, utterances=kept)

    def hold_out(self, count: int, seed: int) -> tuple["Manifest", "Manifest"]:
        """Return (training part, held-out part): no speaker is in both.

        A speaker is chosen by a draw of its own, so adding other speakers leaves most of the choice as it was. The
        unusable recordings stay with the training part.

        Args:
            count: speakers to hold out.
            seed: decides which.

        Raises:
            CorpusError: if there are not more than ``count`` speakers, or ``count`` is below 1.
        """
        if not 1 <= count < len(self.speakers):
            raise CorpusError(
                f"{count} speakers cannot be held out of the {len(self.speakers)} in {self.root or 'the manifest'}: "
                "hold out at least one, and leave at least one"
            )
        ranked = sorted(self.speakers, key=lambda s: (float(generator(seed, 0, s, "hold_out").random()), s))
        return self.select(ranked[count:]), replace(self.select(ranked[:count]), unusable=())

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of the ids, speakers and stretches in their order; the same wherever the corpus lies."""
        digest = hashlib.sha256()
        for utterance in self.utterances:
            spans = [(_ms(part.start_s), _ms(part.duration_s)) for part in utterance.parts]
            facts: list[object] = [utterance.id, utterance.speaker, _ms(utterance.duration_s), spans]
            if any(part.channel != "mix" for part in utterance.parts):
                facts.append([part.channel for part in utterance.parts])
            if utterance.speed != 1.0:
                facts.append(utterance.speed)
            digest.update(json.dumps(facts).encode() + b"\n")
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Return one line: speakers, utterances, hours, typical length, how many were left out, and of what list."""
        if not self.utterances:
            return f"no utterances, {counted(len(self.unusable), 'recording')} left out"
        speakers = counted(len(self.speakers), "speaker") if self.speakers else "speakers unknown"
        typical = median(utterance.duration_s for utterance in self.utterances)
        left_out = f", {counted(len(self.unusable), 'recording')} left out" if self.unusable else ""
        utterances = counted(len(self.utterances), "utterance")
        listed = f"; from {KINDS[self.layout]}" if self.layout in KINDS else ""
        return f"{speakers}, {utterances}, {self.hours:.2f} h (median {typical:.1f} s){left_out}{listed}"

    def save(self, path: Path | str) -> None:
        """Write the manifest as JSON lines: a heading, then one utterance or unusable recording a line.

        Paths below `root` are written relative to it, and in the bytes they have. The file appears whole or not at all.

        Raises:
            OutputError: if the file cannot be written.
        """
        # Bytes of a name that are not UTF-8 become escapes of JSON, and those bytes again when they are read.
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors=ENCODING_ERRORS, newline="\n") as file,
        ):
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in _Records(self))

    @classmethod
    def load(cls, path: Path | str, root: Path | str | None = None) -> "Manifest":
        """Return the manifest that `save` wrote.

        Args:
            path: the file.
            root: where the corpus lies now; where it lay when the manifest was saved if None.

        Raises:
            CorpusError: if the file is missing, is not a manifest, or has a line that cannot be understood.
        """
        path = Path(path)
        refuse_foreign(path)
        utterances: list[Utterance] = []
        unusable: list[Unusable] = []
        reader: _Reader | None = None
        number = 0
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                for number, line in enumerate(file, start=1):  # noqa: B007 - named in the error
                    record = json.loads(line)
                    if reader is None:
                        if (record["format"], record["schema_version"]) != (OURS, _SCHEMA_VERSION):
                            raise ValueError(f"this is no manifest of schema version {_SCHEMA_VERSION}")
                        reader = _Reader(str(record["root"] if root is None else root))
                    elif "unusable" in record:
                        unusable.append(Unusable(reader.path(record["unusable"]), str(record["reason"])))
                    else:
                        utterances.append(reader.utterance(record))
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"manifest {path} cannot be read: {error}") from None
        except (ValueError, KeyError, TypeError, RecipeError) as error:
            raise CorpusError(
                f"{path}, line {number}: not a line of a manifest ({error}); scan the corpus again"
            ) from None
        if reader is None:
            raise CorpusError(f"manifest {path} is empty; scan the corpus again")
        return cls(tuple(utterances), tuple(unusable), reader.root)


def refuse_foreign(path: Path) -> None:
    """Raise if another toolkit's description of a corpus stands in the place of a manifest.

    Raises:
        CorpusError: says what the file is, and what to do.
    """
    if (kind := kind_of_list(path)) in KINDS:
        raise CorpusError(f"{path}: is {KINDS[kind]}, no manifest of voxanchor; give it with --speech")


class _Records:
    """The lines of a manifest to be written; millions of them, so paths are taken apart as text."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._above = os.path.join(Path(manifest.root), "") if manifest.root else ""  # noqa: PTH118 - ends with a slash

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield {"format": OURS, "schema_version": _SCHEMA_VERSION, "root": self.manifest.root}
        for utterance in self.manifest.utterances:
            record = {name: getattr(utterance, name) for name in _FIELDS}
            record["parts"] = [self._part(part) for part in utterance.parts]
            yield record
        for bad in self.manifest.unusable:
            yield {"unusable": self._relative(bad.path), "reason": bad.reason}

    def _part(self, part: Part) -> dict[str, Any]:
        record = {"path": self._relative(part.path), "start_s": part.start_s, "duration_s": part.duration_s}
        if part.channel != "mix":
            record["channel"] = part.channel
        if part.stored is not None:
            record["stored"] = asdict(part.stored) | {"path": self._relative(part.stored.path)}
        return record

    def _relative(self, path: str) -> str:
        if not self._above or not path.startswith(self._above):
            return path
        return path[len(self._above) :].replace(os.sep, "/")


class _Reader:
    """Lines of a manifest as objects; millions of them, so paths are joined as text and shards are named once."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._above = os.path.join(Path(root), "") if root else ""  # noqa: PTH118 - ends with a slash
        self._shards: dict[str, str] = {}

    def path(self, relative: str) -> str:
        return relative if os.path.isabs(relative) else self._above + relative  # noqa: PTH117 - many times as fast

    def utterance(self, record: dict[str, Any]) -> Utterance:
        record["parts"] = tuple(map(self._part, record["parts"]))
        record["speaker"] = sys.intern(record["speaker"])
        if record.get("recording") == record["id"]:
            record["recording"] = record["id"]
        return Utterance(**record)

    def _part(self, record: dict[str, Any]) -> Part:
        return Part(
            self.path(record["path"]),
            record["start_s"],
            record["duration_s"],
            self._stored(record.get("stored")),
            channel_of(record["channel"]) if "channel" in record else "mix",
        )

    def _stored(self, record: dict[str, Any] | None) -> Stored | None:
        if record is None:
            return None
        shard = record["path"]
        if shard not in self._shards:
            self._shards[shard] = self.path(shard)
        record["path"] = self._shards[shard]
        return Stored(**record)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000.0)


def merge(manifests: Sequence[Manifest], prefixes: Sequence[str]) -> Manifest:
    """Return one manifest of several corpora; ids, speakers and recordings get their corpus' prefix and a slash.

    Args:
        manifests: the corpora, in order.
        prefixes: a name for each, all different, so that equal names of different people stay apart.

    Raises:
        CorpusError: if the prefixes do not fit the manifests.
    """
    if len(manifests) != len(prefixes) or len(set(prefixes)) != len(prefixes) or not all(prefixes):
        raise CorpusError(f"{len(manifests)} corpora need as many different names, not {list(prefixes)}")
    utterances = tuple(
        replace(
            utterance,
            id=f"{prefix}/{utterance.id}",
            speaker=f"{prefix}/{utterance.speaker}" if utterance.speaker else "",
            recording=f"{prefix}/{utterance.recording}" if utterance.recording else "",
        )
        for manifest, prefix in zip(manifests, prefixes, strict=True)
        for utterance in manifest.utterances
    )
    return Manifest(utterances, tuple(bad for manifest in manifests for bad in manifest.unusable))


# Decoded recordings kept in memory up to a limit.


class WaveStore:
    """A bounded memory of waveforms by name, in 16 bits (`voxanchor.audio.pcm.encode`), safe for threads.

    Those mapped from files take none of it.
    """

    def __init__(self, max_bytes: int = 2 * 2**30) -> None:
        self._memory: LruCache[Pcm] = LruCache(max_bytes, _bytes)

    def get(self, name: str, load: Callable[[], Waveform]) -> Waveform:
        """Return the waveform called `name`, from memory or else from `load`."""
        return self.pcm(name, lambda: encode(load())).waveform()

    def pcm(self, name: str, load: Callable[[], Pcm]) -> Pcm:
        """Return the waveform called `name` as it is kept, from memory or else from `load`."""
        return self._memory.get(name, load)


def _bytes(kept: Pcm) -> int:
    return kept.memory_bytes
