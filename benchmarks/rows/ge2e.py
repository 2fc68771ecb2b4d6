"""GE2E on the same samples: our own network with the public weights against the package that they come from."""

import numpy as np
import recordings
import torch
from measure import Answer, Measure, Row, Settings, Side, attempt, in_turn, seconds

from voxanchor.evaluation.embed import embed, forward
from voxanchor.models import registry
from voxanchor.models.batches import by_length, pad, side_by_side
from voxanchor.types import SAMPLE_RATE, Embeddings, Waveform


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    utterances = heard.manifest.utterances[: settings.pick(64, 8)]
    waves = {utterance.id: utterance.read() for utterance in utterances}
    total_s = sum(map(len, waves.values())) / SAMPLE_RATE
    encoder = registry.load("ge2e").eval()

    @torch.inference_mode()
    def one_by_one() -> Embeddings:
        return np.concatenate([encoder(torch.from_numpy(wave).unsqueeze(0)).numpy() for wave in waves.values()])

    def in_batches() -> Embeddings:
        return embed(encoder, utterances, label="ge2e", read=lambda utterance: waves[utterance.id])

    def in_bf16() -> Embeddings:
        rows = np.empty((len(waves), encoder.embedding_dim), np.float32)
        recorded = list(waves.values())

        def work(group: list[int]) -> None:
            rows[group] = forward(encoder, *pad([recorded[i] for i in group], on_grid=True), "bfloat16")

        side_by_side(work, by_length([len(wave) / SAMPLE_RATE for wave in recorded]), torch.device("cpu"))
        return rows

    found: list[Embeddings] = []
    peer = attempt(lambda: _resemblyzer(list(waves.values()), found, total_s))
    sides = in_turn(
        {
            "voxanchor, in batches": lambda: seconds(in_batches) / total_s,
            "voxanchor, one by one": lambda: seconds(one_by_one) / total_s,
            "Resemblyzer embed_utterance": peer,
            "voxanchor bf16, in batches": lambda: seconds(in_bf16) / total_s,
        },
        settings.repeats,
    )
    names = list(sides)
    what = f"GE2E embedding of {len(waves)} recordings, {total_s / len(waves):.0f} s each"
    note = "Resemblyzer embeds one recording at a time"
    rtf = "real-time factor"
    rows = [
        Row(what, rtf, sides[names[0]], sides[names[2]], goal="at least 3", note=note, better="lower"),
        Row(what, rtf, sides[names[1]], sides[names[2]], better="lower"),
        Row(what, rtf, sides[names[3]], sides[names[2]], goal="at least 3", better="lower"),
    ]
    if found:
        for name, ours in ((names[0], in_batches()), (names[1], one_by_one()), (names[3], in_bf16())):
            worst = Side(name, (1.0 - float((ours.astype(np.float64) * found[0]).sum(axis=1).min()),))
            rows.append(
                Row("largest cosine distance to Resemblyzer's embedding", "1 - cosine", worst, goal="0", better="lower")
            )
    return Answer(rows)


def _resemblyzer(waves: list[Waveform], found: list[Embeddings], total_s: float) -> Measure:
    from resemblyzer import VoiceEncoder

    encoder = VoiceEncoder("cpu", verbose=False)
    found.append(np.stack([encoder.embed_utterance(wave) for wave in waves]))
    return lambda: seconds(lambda: [encoder.embed_utterance(wave) for wave in waves]) / total_s
