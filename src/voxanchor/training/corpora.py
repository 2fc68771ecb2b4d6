"""The recordings of a recipe, parted by speaker: to train on, to watch the training by, and to evaluate on."""

from dataclasses import dataclass, replace
from pathlib import Path

from voxanchor.audio.downmix import channel_of
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest, Unusable, log_left_out, merge
from voxanchor.corpus.segments import join_short
from voxanchor.errors import CorpusError
from voxanchor.rng import generator
from voxanchor.runtime import log_line
from voxanchor.training.recipe import Data, Speech

UNLABELLED_VALIDATION_SHARE = 0.05


@dataclass(frozen=True)
class Corpora:
    """Three manifests without a common speaker, and every file that could not be used.

    Attributes:
        train: with the voices that speed perturbation makes.
        held_out: as recorded, not joined: the evaluation cuts its own segments.
    """

    train: Manifest
    validation: Manifest
    held_out: Manifest
    unusable: tuple[Unusable, ...]


def gather(data: Data, seed: int) -> Corpora:
    """Scan the folders of a recipe and part their speakers; the same seed parts them the same way.

    Raises:
        CorpusError: a folder without usable recordings, or with too few speakers for what is to be held out.
    """
    pool, held_out = [], []
    names = [_name(source) for source in data.speech]
    if len(set(names)) < len(names):
        raise CorpusError(f"speech folders need different names, found {', '.join(names)}: set 'name' for each")
    for source in data.speech:
        whole = scan(source.path, source.layout, data.max_unusable_share, channel_of(source.channel))
        _report(source.path, whole)
        rest, out = _part(whole, source.hold_out_speakers, seed, source.path)
        pool.append(join_short(rest, data.join_s))
        held_out.append(out)
    together = _together(pool, names)
    train, validation = _part_validation(together, data.validation_speakers, seed)
    if data.voice_speeds:
        train = train.with_voices(data.voice_speeds)
        log_line(
            f"with every recording also at {', '.join(f'{s:g}' for s in data.voice_speeds)} times its speed, as other "
            f"speakers: {train.describe()}"
        )
    return Corpora(train, validation, _together(held_out, names), together.unusable)


def _together(manifests: list[Manifest], names: list[str]) -> Manifest:
    return manifests[0] if len(manifests) == 1 else merge(manifests, names)


def _name(source: Speech) -> str:
    return source.name or Path(source.path).resolve().name


def _report(path: str, manifest: Manifest) -> None:
    log_line(f"{path}: {manifest.describe()}")
    log_left_out(path, manifest.unusable)


def _part(manifest: Manifest, count: int, seed: int, path: str) -> tuple[Manifest, Manifest]:
    if count and count >= len(manifest.speakers):
        raise CorpusError(
            f"{path}: {count} speakers are to be held out of {len(manifest.speakers)}. Lower hold_out_speakers."
        )
    return manifest.hold_out(count, seed) if count else (manifest, replace(manifest, utterances=(), unusable=()))


def _part_validation(manifest: Manifest, count: int, seed: int) -> tuple[Manifest, Manifest]:
    if count == 0:
        return manifest, replace(manifest, utterances=())
    if not is_labelled(manifest):
        order = generator(seed, 0, 0, "validation").permutation(len(manifest.utterances))
        chosen = set(order[: max(1, round(UNLABELLED_VALIDATION_SHARE * len(order)))].tolist())
        kept = tuple(u for i, u in enumerate(manifest.utterances) if i not in chosen)
        aside = tuple(u for i, u in enumerate(manifest.utterances) if i in chosen)
        return replace(manifest, utterances=kept), replace(manifest, utterances=aside)
    # watching must not eat the corpus: never more than a quarter of its speakers
    most = len(manifest.speakers) // 4
    if count > most:
        log_line(f"validation: {most} speakers instead of {count}: at most a quarter of {len(manifest.speakers)}")
        count = most
    return manifest.hold_out(count, seed) if count else (manifest, replace(manifest, utterances=()))


def is_labelled(manifest: Manifest) -> bool:
    """Return whether the recordings say who speaks."""
    return any(utterance.speaker for utterance in manifest.utterances)
