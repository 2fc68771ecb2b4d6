"""Embedding with ECAPA-512 on one thread, as real-time factors: processing time over length of the audio."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
import recordings
import torch
from measure import KEPT, Answer, Measure, Row, Settings, Side, attempt, in_turn, seconds
from steps import ECAPA_512
from torch import Tensor

from voxanchor.evaluation.embed import forward
from voxanchor.export.onnx import export
from voxanchor.models import registry
from voxanchor.models.batches import pad
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.scoring.metrics import eer

RTF = "real-time factor"


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(1)
    heard = recordings.load(settings.recordings)
    batch = settings.pick(32, 8)
    short = [torch.from_numpy(wave) for wave in heard.waves(batch, 3.0)]
    minute = [torch.from_numpy(heard.waves(1, 60.0)[0])]
    encoder = registry.build(ECAPA_512).eval()
    peer = attempt(_speechbrain)
    exported = _exported(encoder)
    rows = []
    for what, waves in (("3 s, one by one", short), ("60 s", minute)):
        sides = in_turn(
            {
                "voxanchor fp32": _one_by_one(encoder, waves),
                "SpeechBrain fp32": peer if isinstance(peer, str) else _one_by_one(peer, waves),
                f"SpeechBrain fp32{KEPT}": peer if isinstance(peer, str) else _one_by_one(peer, waves),
                "voxanchor bf16": _bf16(_one_by_one(encoder, waves)),
                "SpeechBrain bf16": peer if isinstance(peer, str) else _bf16(_one_by_one(peer, waves)),
                "voxanchor ONNX": _one_by_one(exported, waves),
            },
            settings.repeats,
        )
        name = f"ECAPA-512 embedding, one thread, {what}"
        fp32, bf16 = sides["voxanchor fp32"], sides["voxanchor bf16"]
        rows += [
            Row(name, RTF, fp32, sides["SpeechBrain fp32"], goal="at least 1", better="lower"),
            Row(name, RTF, fp32, sides[f"SpeechBrain fp32{KEPT}"], better="lower"),
            Row(name, RTF, bf16, sides["SpeechBrain fp32"], goal="at least 2", better="lower"),
            Row(name, RTF, bf16, sides["SpeechBrain bf16"], better="lower"),
            Row(name, RTF, sides["voxanchor ONNX"], fp32, better="lower"),
        ]
    together = torch.stack(short)
    sides = in_turn(
        {
            "voxanchor fp32, batch": _together(encoder, together),
            "voxanchor fp32, one by one": _one_by_one(encoder, short),
            "SpeechBrain fp32, batch": peer if isinstance(peer, str) else _together(peer, together),
            "voxanchor bf16, batch": _bf16(_together(encoder, together)),
            "voxanchor bf16, one by one": _bf16(_one_by_one(encoder, short)),
            "voxanchor ONNX, batch": _together(exported, together),
        },
        settings.repeats,
    )
    name = f"ECAPA-512 embedding, one thread, batches of {batch} x 3 s"
    rows += [
        Row(
            name,
            RTF,
            sides[f"voxanchor {kind}, batch"],
            sides[f"voxanchor {kind}, one by one"],
            "at least 1.5",
            better="lower",
        )
        for kind in ("fp32", "bf16")
    ]
    rows.append(Row(name, RTF, sides["voxanchor fp32, batch"], sides["SpeechBrain fp32, batch"], better="lower"))
    rows.append(Row(name, RTF, sides["voxanchor ONNX, batch"], sides["voxanchor fp32, batch"], better="lower"))
    return Answer(rows + _changes(encoder, short, settings))


Embed = Callable[[Tensor], Tensor]


def _exported(encoder: SpeakerEncoder) -> Embed:
    with tempfile.TemporaryDirectory() as folder:
        path = export(encoder, f"{folder}/ecapa.onnx", "ecapa").path
        session = ExportedEncoder.load(path, threads=1)
    return lambda waves: torch.from_numpy(session.embed(waves.numpy(), np.full(len(waves), waves.shape[1])))


def _one_by_one(embed_batch: Embed, waves: Sequence[Tensor]) -> Measure:
    turn = cycle(waves)
    length_s = len(waves[0]) / 16_000

    @torch.inference_mode()
    def measure() -> float:
        calls = len(waves)
        return seconds(lambda: [embed_batch(next(turn).unsqueeze(0)) for _ in range(calls)]) / calls / length_s

    return measure


def _together(embed_batch: Embed, waves: Tensor) -> Measure:
    @torch.inference_mode()
    def measure() -> float:
        return seconds(lambda: embed_batch(waves)) / (waves.numel() / 16_000)

    return measure


def _bf16(measure: Measure) -> Measure:
    def measured() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return measure()

    return measured


def _speechbrain() -> Embed:
    """Features, mean normalisation and network as its `EncoderClassifier` puts them together."""
    from peers import brain

    features, normalise = brain.Fbank(n_mels=80), brain.InputNormalization(norm_type="sentence", std_norm=False)
    network = brain.ECAPA_TDNN(80, lin_neurons=192, channels=[512, 512, 512, 512, 1536]).eval()

    def embed_batch(waves: Tensor) -> Tensor:
        lengths = torch.ones(len(waves))
        embeddings: Tensor = network(normalise(features(waves), lengths), lengths)
        return embeddings

    return embed_batch


def _changes(encoder: SpeakerEncoder, waves: Sequence[Tensor], settings: Settings) -> list[Row]:
    """Return what bf16 changes: the least cosine of fresh weights, and the EER of a trained model if one is given."""
    with torch.inference_mode():
        exact = encoder(torch.stack(list(waves)))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = encoder(torch.stack(list(waves)))
    worst = Side("voxanchor", (1.0 - float((exact.double() * rounded.double()).sum(1).min()),))
    what, note = (
        "largest cosine distance between embeddings in bf16 and in fp32",
        "weights drawn at random: says little of a trained model",
    )
    rows = [Row(what, "1 - cosine", worst, note=note, better="lower")]
    if settings.model:
        rows.append(_eers(settings))
    return rows


def _eers(settings: Settings) -> Row:
    heard, encoder = recordings.load(settings.recordings), registry.load(settings.model).eval()
    segments, speakers = [], []
    for utterance in heard.manifest.utterances:
        for start_s in range(0, min(12, int(utterance.duration_s) - 2), 3):
            parts = utterance.crop(start_s, 3.0)
            segments.append(replace(utterance, id=f"{utterance.id}#{start_s}", duration_s=3.0, parts=parts))
            speakers.append(utterance.speaker)
    waves = [segment.read() for segment in segments]
    rates = {}
    for name, precision in (("fp32", "float32"), ("bf16", "bfloat16")):
        # equally long, so batches of any rows will do
        batches = [forward(encoder, *pad(waves[i : i + 32]), precision) for i in range(0, len(waves), 32)]
        vectors = np.concatenate(batches)
        left, right = np.triu_indices(len(segments), 1)
        names = np.array(speakers)
        rates[name] = 100 * eer((vectors @ vectors.T)[left, right], names[left] == names[right]).eer
    return Row(
        "EER of a trained model in bf16 against fp32, clean 3 s segments of the same recordings",
        "%",
        Side("voxanchor bf16", (rates["bf16"],)),
        Side("voxanchor fp32", (rates["fp32"],)),
        note=f"{settings.model}; one session per speaker, so the rate itself flatters; only the change counts",
        better="lower",
    )
