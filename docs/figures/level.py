"""What a recorder's gain and DC offset do to a model, on pairs of different files: the tables of docs/models/ge2e.md.

python docs/figures/level.py MODEL SPEECH [as-it-comes]

SPEECH holds a folder per speaker with several recordings each. Every recording is heard as it is and with each gain and
offset, rounded to 16 bits. `as-it-comes` leaves out what the model does to the level of its input.
"""

import dataclasses
import sys

import numpy as np
import torch

from voxanchor.audio.channels import apply_channel
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Utterance
from voxanchor.evaluation.embed import embed_with
from voxanchor.models import registry
from voxanchor.models.backbone import AS_IT_COMES
from voxanchor.scoring.metrics import eer
from voxanchor.types import Embeddings, FloatArray, Waveform

RECORDERS = (None, *(("gain", gain_db) for gain_db in (-40.0, -30.0, -20.0, -10.0, 10.0)), ("dc", 0.03), ("dc", 0.1))


def heard(model: registry.Embedder, speech: tuple[Utterance, ...], recorder: tuple[str, float] | None) -> Embeddings:
    """Return the embeddings of all recordings as a recorder keeps them."""

    def read(utterance: Utterance) -> Waveform:
        wave = utterance.read()
        if recorder is None:
            return wave
        kept: Waveform = apply_channel(torch.from_numpy(wave).unsqueeze(0), *recorder)[0].numpy()
        return kept

    return embed_with([model], speech, label=f"{recorder}", read=read)[0]


def main(reference: str, folder: str, as_it_comes: bool) -> None:
    """Print a row of the table for every gain and offset."""
    model = registry.load(reference)
    if as_it_comes:
        model.config = dataclasses.replace(model.config, input=AS_IT_COMES)
    speech = scan(folder).utterances
    first, second = np.triu_indices(len(speech), 1)
    speakers = np.array([utterance.speaker for utterance in speech])
    same = speakers[first] == speakers[second]
    plain = heard(model, speech, None)

    def scores(one: Embeddings, other: Embeddings) -> FloatArray:
        cosines: FloatArray = np.einsum("ij,ij->i", one[first], other[second]).astype(np.float64)
        return cosines

    usual = scores(plain, plain)
    threshold = np.quantile(usual[~same], 0.99)
    for recorder in RECORDERS:
        found = heard(model, speech, recorder)
        both = scores(found, found)
        one = np.concatenate([scores(plain, found), scores(found, plain)])
        labels = np.concatenate([same, same])
        passing = 100 * float((both[~same] > threshold).mean())
        least = float(np.einsum("ij,ij->i", plain, found).min())
        name = "as it is" if recorder is None else f"{recorder[0]} {recorder[1]:g}"
        rates = f"{100 * eer(both, same).eer:.2f} | {100 * eer(one, labels).eer:.2f}"
        print(f"| {name} | {rates} | {passing:.2f} | {least:.4f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["as-it-comes"])
