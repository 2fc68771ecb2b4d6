"""Cost against work over three decades: of trials, of utterances and of speakers, with the exponent that fits."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import recordings
import torch
from measure import Answer, Row, Settings, Side, seconds

from rows.metrics import P_TARGET, trials
from rows.pairs import BATCH, RECORDED
from voxanchor.corpus.manifest import Manifest
from voxanchor.evaluation.embed import embed
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig
from voxanchor.objectives.margin import AAMSoftmax
from voxanchor.scoring.metrics import eer, min_dcf
from voxanchor.training.batches import Batches

SMALL = EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})
GOAL = "1 (n log n: 1.1)"


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    last = settings.pick(6, 5)

    def sizes(first: int) -> list[int]:
        return [10**decade for decade in range(first, first + last - 2)]

    jobs: dict[str, tuple[list[int], Callable[[int], Callable[[], object]]]] = {
        "EER and minDCF against trials": (sizes(4), _metrics),
        "bulk embedding against utterances": (sizes(1), lambda n: _embedding(heard, n)),
        "setting up the batches of an epoch against utterances": (sizes(2), lambda n: _batches(heard, n)),
        "AAM head, forward and backward, against speakers": (sizes(2), _head),
        "the same with 1,000 sampled": (sizes(2), lambda n: _head(n, 1_000)),
    }
    rows, facts = [], {}
    for what, (counts, make) in jobs.items():
        times = [_least(make(count), settings) for count in counts]
        facts[what] = {"counts": counts, "seconds": times}
        told = ", ".join(f"{count:.0e}: {time:.2g} s" for count, time in zip(counts, times, strict=True))
        rows.append(
            Row(what, "exponent", Side("voxanchor", (exponent(counts, times),)), goal=GOAL, note=told, better="lower")
        )
    return Answer(rows, facts)


def exponent(counts: Sequence[int], times: Sequence[float]) -> float:
    """Return p of the time ``a + b n^p``: the slope over the last two decades, where the constant no longer counts."""
    slope, _ = np.polyfit(np.log(counts[-3:]), np.log(times[-3:]), 1)
    return float(slope)


def _least(work: Callable[[], object], settings: Settings) -> float:
    first = seconds(work)
    if first > 5 or settings.quick:
        return first
    return min(first, seconds(work), seconds(work))


def _metrics(count: int) -> Callable[[], object]:
    scores, targets = trials(count)
    return lambda: (eer(scores, targets), min_dcf(scores, targets, P_TARGET))


def _many(heard: recordings.Recordings, count: int) -> Manifest:
    """Return a manifest of `count` half seconds of the same few recordings."""
    found = heard.manifest.utterances[:50]
    pieces = [replace(u, id=u.id, duration_s=0.5, parts=u.crop(1.0, 0.5)) for u in found]
    return Manifest(tuple(replace(pieces[i % len(pieces)], id=f"{i}") for i in range(count)))


def _embedding(heard: recordings.Recordings, count: int) -> Callable[[], object]:
    utterances = _many(heard, count).utterances
    wave, encoder = utterances[0].read(), registry.build(SMALL)
    return lambda: embed(encoder, utterances, label="scaling", read=lambda _: wave)


def _batches(heard: recordings.Recordings, count: int) -> Callable[[], object]:
    manifest, bank = _many(heard, count), heard.bank()
    return lambda: Batches(manifest, bank, replace(RECORDED, crop_s=0.5), seed=0).render(0)


def _head(speakers: int, sampled: int = 0) -> Callable[[], object]:
    head = AAMSoftmax(192, speakers, sampled=sampled)
    embeddings = torch.nn.functional.normalize(torch.randn(BATCH, 192), dim=1).requires_grad_()
    labels = torch.randint(speakers, (BATCH,))
    return lambda: head(embeddings, labels)[0].backward()
