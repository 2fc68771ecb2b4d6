"""Where noise and rooms come from in a run: recorded folders, built-in generators, talkers for babble, as one bank."""

from collections.abc import Sequence

from voxanchor.audio.babble import Babble
from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.clips import Clip, ClipCache
from voxanchor.audio.music import SyntheticMusic
from voxanchor.audio.rooms import Rooms
from voxanchor.audio.sources import Choice, NoiseSource, RecordedNoise
from voxanchor.audio.synthetic import SyntheticNoise
from voxanchor.corpus.layouts import NoiseFolder, noise_folder
from voxanchor.corpus.manifest import Manifest, say_left_out
from voxanchor.corpus.noise_classes import noise_class
from voxanchor.corpus.room_folders import room_clips
from voxanchor.corpus.utterance import Utterance
from voxanchor.evaluation.classes import class_kind
from voxanchor.progress import say

OTHER_VOICE_SPEEDS = (0.80, 0.86, 1.16, 1.24)
"""Playback speeds that turn a talker into somebody else, as speed perturbation does in training."""


def voices(utterance: Utterance) -> frozenset[str]:
    """Return what must not be heard in the background of an utterance: its speaker, and the files it is made of."""
    files = {part.path for part in utterance.parts}
    return frozenset(files | {utterance.speaker} if utterance.speaker else files)


def noise_bank(
    folders: Sequence[str],
    talkers: Manifest,
    *,
    built_in_share: float,
    for_evaluation: bool,
    rooms: Sequence[str] = (),
    by_class: bool = False,
) -> NoiseBank:
    """Return the kinds ``noise``, ``music`` and ``babble``, and the rooms.

    Args:
        folders: in MUSAN layout. A kind that none of them holds comes from the built-in generators alone.
        talkers: recordings for babble where no folder holds ``speech``.
        built_in_share: share of noise, music and rooms from the built-in generators where there are recordings too.
        for_evaluation: compose other music than for training, and play `talkers` faster or slower, so that nobody
            who takes part in a trial is heard in the background of it as themselves.
        rooms: folders of room impulse responses.
        by_class: offer each class of the recorded noise as a kind of its own, too (`classes.class_kind`).
    """
    cache = ClipCache()
    found = [noise_folder(folder) for folder in folders]
    for folder, clips in zip(folders, found, strict=True):
        say_left_out(folder, clips.unusable)
    noise = [clip for folder in found for clip in folder.noise]
    music = [clip for folder in found for clip in folder.music]
    speech = [clip for folder in found for clip in folder.speech]
    if speech:
        babble = Babble(speech, cache)
    else:
        own = [
            Clip(part.path, utterance.speaker, part.start_s, part.duration_s, part.stored, part.channel)
            for utterance in talkers.utterances
            if utterance.speed == 1.0
            for part in utterance.parts
        ]
        babble = Babble(own, cache, speeds=OTHER_VOICE_SPEEDS if for_evaluation else (1.0,))
    return NoiseBank(
        {
            "noise": _mixed(noise, SyntheticNoise(), built_in_share, cache),
            "music": _mixed(music, SyntheticMusic(seed=int(for_evaluation)), built_in_share, cache),
            "babble": babble,
            **(_classes(found, cache) if by_class else {}),
        },
        Rooms([clip for folder in rooms for clip in _responses(folder)], built_in_share),
    )


def _classes(folders: Sequence[NoiseFolder], cache: ClipCache) -> dict[str, NoiseSource]:
    clips: dict[str, list[Clip]] = {}
    for folder in folders:
        for clip, name in zip(folder.noise, folder.names, strict=True):
            clips.setdefault(class_kind(noise_class(name)), []).append(clip)
    return {kind: RecordedNoise(members, cache) for kind, members in clips.items()}


def _responses(folder: str) -> tuple[Clip, ...]:
    clips, unusable = room_clips(folder)
    say(f"{folder}: {len(clips)} room responses")
    say_left_out(folder, unusable)
    return clips


def _mixed(clips: Sequence[Clip], built_in: NoiseSource, share: float, cache: ClipCache) -> NoiseSource:
    if not clips:
        return built_in
    recorded = RecordedNoise(clips, cache)
    if share <= 0:
        return recorded
    return Choice((recorded, built_in), (1 - share, share)) if share < 1 else built_in
