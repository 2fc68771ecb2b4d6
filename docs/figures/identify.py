"""Whose voice is it? Speakers are enrolled on lists of several lengths, and all speakers are looked for on each.

By the rule as it is, and by the one before it: a prior of 0.5 that it is one of the list, shared out among its people,
and no threshold, so that on a short list anybody could be found who is a little likelier than not.

    python docs/figures/identify.py CALIBRATED_MODEL SPEECH [NOISE]

SPEECH has a folder per speaker, NOISE the layout of MUSAN; without it the recordings are heard in clean alone.
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.conditions.bank import noise_bank, voices
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Utterance
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import open_store
from voxanchor.rng import generator
from voxanchor.scoring.backend import EmbeddingSet
from voxanchor.types import SAMPLE_RATE, IntArray, Waveform
from voxanchor.verification import embedding
from voxanchor.verification.loading import load
from voxanchor.verification.people import People, embedding_set
from voxanchor.verification.recordings import load_audio
from voxanchor.verification.result import Identification, Side
from voxanchor.verification.verifier import Rule, Verifier, identification

CONDITIONS = ("clean", "noise_10db", "babble_10db")
ENROL_S, HEARD_S, LEAST_S, MOST_HEARD = 7.0, 5.0, 3.0, 4
LISTS, MOST_LISTS = (3, 10, 50), 12

Said = dict[str, tuple[Waveform, list[Waveform]]]
"""By speaker: what enrols, and what is heard."""


def joined(recordings: list[Utterance]) -> tuple[Waveform, list[Waveform]] | None:
    """Return what enrols a speaker and what is heard of them; None where there is too little."""
    wave = np.concatenate([item.read() for item in recordings[:40]])
    first = round(min(ENROL_S, len(wave) / SAMPLE_RATE / 2) * SAMPLE_RATE)
    step = round(HEARD_S * SAMPLE_RATE)
    rest = [wave[start : start + step] for start in range(first, len(wave), step)]
    heard = [piece for piece in rest if len(piece) >= LEAST_S * SAMPLE_RATE][:MOST_HEARD]
    return (wave[:first], heard) if first >= LEAST_S * SAMPLE_RATE and heard else None


def before(found: Identification) -> bool:
    """Return whether the likeliest of a list was found by the rule that was replaced."""
    odds = np.array([item.llr for item in found.candidates], dtype=np.float64) - np.log(found.people)
    return bool(odds[0] > np.logaddexp.reduce([*odds[1:], 0.0]))


class Counts:
    """What became of searches: of people on the list and of strangers, by the rule before and the rule now."""

    def __init__(self) -> None:
        self.known, self.strangers = 0, 0
        self.right, self.wrong, self.found, self.against_claim = (np.zeros(2, dtype=int) for _ in range(4))

    def add(self, found: Identification, speaker: str, on_list: bool) -> None:
        """Count one search."""
        best = found.candidates[0]
        rules = np.array([before(found), found.person is not None])
        self.against_claim += rules & (best.llr < found.threshold)  # type: ignore[operator]
        if on_list:
            self.known += 1
            self.right += rules & (best.person == speaker)
            self.wrong += rules & (best.person != speaker)
        else:
            self.strangers += 1
            self.found += rules

    def __str__(self) -> str:
        """Return the cells: shares before -> now."""
        found, against = (f"{one:,} -> {other:,}" for one, other in (self.found, self.against_claim))
        cells = [
            f"{found} of {self.strangers:,} ({self._shares(self.found, self.strangers)})",
            against,
            self._shares(self.right, self.known),
            self._shares(self.wrong, self.known),
        ]
        return " | ".join(cells)

    @staticmethod
    def _shares(counts: IntArray, of: int) -> str:
        one, other = (100 * counts / of).tolist()
        return f"{one:.1f} -> {other:.1f} %"


def main(model: str, speech: str, noise: str = "") -> None:
    """Print a table: by condition and length of the list, what becomes of those on it and of strangers."""
    recordings = scan(speech)
    bank = noise_bank((noise,) if noise else (), recordings, built_in_share=0.0, for_evaluation=True)
    by_speaker: dict[str, list[Utterance]] = {}
    for item in recordings.utterances:
        by_speaker.setdefault(item.speaker, []).append(item)
    said: Said = {name: parts for name, items in sorted(by_speaker.items()) if (parts := joined(items))}
    print(f"{Path(speech).name}: {len(said)} speakers\n")
    print("before -> now:\n")
    print("| condition | N | strangers found | against verify-as | on the list: right | another | stated |")
    print("|---|---|---|---|---|---|---|")
    with load(model) as verifier:
        known = {name: voice(verifier, enrols) for name, (enrols, _) in said.items()}
        for name in CONDITIONS if noise else CONDITIONS[:1]:
            condition, heard = Condition.parse(name), []
            for speaker, (_, pieces) in said.items():
                exclude = frozenset[str]().union(*map(voices, by_speaker[speaker]))
                for place, piece in enumerate(pieces):
                    draw = generator(0, place, speaker, f"identify/{name}")
                    noisy = render(piece, condition, bank, draw, exclude=exclude).waveform
                    heard.append((speaker, voice(verifier, noisy)))
            for people in sorted({min(people, len(said) - 1) for people in LISTS}):
                print(f"| {name} | {people} | {looked_for(verifier, known, heard, people)} |", flush=True)


def voice(verifier: Verifier, wave: Waveform) -> EmbeddingSet:
    """Return a recording as what is compared."""
    heard = load_audio(wave)
    return embedding_set([heard], embedding.embed(verifier.embedder, [heard]))


def looked_for(
    verifier: Verifier, known: dict[str, EmbeddingSet], heard: list[tuple[str, EmbeddingSet]], people: int
) -> str:
    """Return a row of the table, over whole lists of so many people."""
    counts, names, stated = Counts(), list(known), set()
    side = Side.with_quality(Quality(0.0, 0.0, 0.0, 0.0))  # of no matter here
    for start in range(0, len(names) - people + 1, people)[:MOST_LISTS]:
        on_list = names[start : start + people]
        with open_store(":memory:") as store:
            for name in on_list:
                row = known[name]
                voiceprint = EnrolmentEmbedding(row.embeddings[0], float(row.speech_s[0]), float(row.snr_db[0]))
                store.enroll(name, [voiceprint], verifier.fingerprint)
            for speaker, said in heard:
                rule = Rule(top=people)
                found = identification(People(store, verifier.fingerprint), verifier.backend, rule, said, side, "")
                counts.add(found, speaker, speaker in on_list)
                rate = found.false_acceptance
                highest = "" if rate.highest is None else f", {rate.highest:.2g} in {rate.condition}"
                stated.add("not stated" if rate.rate is None else f"{rate.rate:.2g} %{highest}, {rate.kind}")
    return f"{counts} | {', '.join(stated)}"


if __name__ == "__main__":
    main(*sys.argv[1:])
