"""Whose voice is it? Half of the speakers are enrolled with half of their recording, all are heard in the rest.

python docs/figures/identify.py CALIBRATED_MODEL SPEECH NOISE
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.layouts import scan
from voxanchor.evaluation.background import noise_bank, voices
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE
from voxanchor.verification.loading import load

CONDITIONS = ("clean", "noise_10db", "babble_10db", "babble_5db", "babble_0db")
SHARE = 0.5


def main(model: str, speech: Path, noise: str) -> None:
    """Print a table: what becomes of those who are enrolled, and of those who are not."""
    recordings = scan(speech)
    bank = noise_bank((noise,), recordings, built_in_share=0.0, for_evaluation=True)
    people = [utterance for utterance in recordings.utterances if utterance.duration_s >= 8.0]
    print(f"{len(people)} people, {len(people[::2])} of them enrolled with half of a recording")
    print(
        "| condition | enrolled: right | wrong person | nobody | not enrolled: somebody | mean certainty, when right |"
    )
    print("|---|---|---|---|---|---|")
    with load(model) as verifier:
        for person in people[::2]:
            wave = person.read()
            verifier.enroll(person.speaker, [wave[: int(SHARE * len(wave))]])
        for name in CONDITIONS:
            condition = Condition.parse(name)
            counts, certain = np.zeros((2, 3), dtype=int), []
            for place, person in enumerate(people):
                wave = person.read()
                rest = wave[int(SHARE * len(wave)) :][: 5 * SAMPLE_RATE]
                draw = generator(0, 0, person.id, f"identify/{name}")
                heard = render(rest, condition, bank, draw, exclude=voices(person)).waveform
                found = verifier.identify(heard)
                outcome = 2 if found.person is None else int(found.person != person.speaker)
                counts[place % 2, outcome] += 1
                if outcome == 0:
                    certain.append(found.candidates[0].probability or 0.0)
            known, unknown = 100 * counts / counts.sum(axis=1, keepdims=True)
            print(
                f"| {name} | {known[0]:.0f} % | {known[1]:.0f} % | {known[2]:.0f} % | {unknown[1]:.0f} % | "
                f"{np.mean(certain):.2f} |"
            )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
