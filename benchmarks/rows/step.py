"""One training step of ECAPA-512 with noise on, and how much of the machine's matrix product it reaches."""

from dataclasses import replace

import numpy as np
import recordings
import torch
from measure import KEPT, Answer, Measure, Row, Settings, Side, attempt, in_turn, seconds
from steps import ECAPA_512, WARM_STEPS, Steps
from torch.utils.flop_counter import FlopCounterMode

from rows.pairs import CROP_S, RECORDED, SNR_DB
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder

MATRIX = 4096


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    size, timed = settings.pick(RECORDED.batch_size, 8), settings.pick(2, 1)
    accelerated = torch.cuda.is_available()
    if accelerated:
        timed = settings.pick(50, 10)
    device = "cuda" if accelerated else "cpu"
    ours = {
        kind: Steps(heard, replace(RECORDED, batch_size=size, precision=kind), timed)
        for kind in ("float32", "bfloat16")
    }
    sides = in_turn(
        {
            "voxanchor fp32": ours["float32"].rate,
            "voxanchor bf16": ours["bfloat16"].rate,
            "SpeechBrain fp32": attempt(lambda: _speechbrain(heard, size, timed, device, autocast=False)),
            "SpeechBrain bf16": attempt(lambda: _speechbrain(heard, size, timed, device, autocast=True)),
            f"SpeechBrain fp32{KEPT}": attempt(lambda: _speechbrain(heard, size, timed, device, autocast=False)),
            "voxanchor bf16, batch at hand": ours["bfloat16"].rate_at_hand,
            "voxanchor matmul fp32": lambda: _matmul_gflops(torch.float32, device),
            "voxanchor matmul bf16": lambda: _matmul_gflops(torch.bfloat16, device),
        },
        settings.repeats,
        warm=0,
    )
    step = f"ECAPA-512 training step, {size} x {CROP_S:g} s, noise on"
    rows = [
        Row(step, "utterances/s", sides["voxanchor fp32"], sides["SpeechBrain fp32"], goal="at least 1.5"),
        Row(step, "utterances/s", sides["voxanchor bf16"], sides["SpeechBrain fp32"], goal="at least 3"),
        Row(step, "utterances/s", sides["voxanchor bf16"], sides["SpeechBrain bf16"]),
        Row(step, "utterances/s", sides["voxanchor fp32"], sides[f"SpeechBrain fp32{KEPT}"]),
    ]
    at_hand = f"the same against a batch already on the {'GPU' if accelerated else 'processor'}"
    goal = "at least 0.9" if accelerated else ""
    rows.append(
        Row(at_hand, "utterances/s", sides["voxanchor bf16"], sides["voxanchor bf16, batch at hand"], goal=goal)
    )
    flops = step_flops(registry.build(ECAPA_512), size)
    for kind in ("fp32", "bf16"):
        rate, peak = sides[f"voxanchor {kind}"], sides[f"voxanchor matmul {kind}"]
        reached = Side(f"voxanchor {kind}", tuple(value * flops / size / 1e9 for value in rate.values))
        product = Side(f"torch.matmul {MATRIX}^2 {kind}", peak.values)
        goal = "at least 0.65" if kind == "fp32" else ""
        note = "products of the network alone: features, norms and optimiser count as time, not as work"
        rows.append(Row("GFLOP/s of that step against the matrix product", "GFLOP/s", reached, product, goal, note))
    return Answer(rows, {"step_gflop": flops / 1e9, "step_batch": size, "device": device})


def _speechbrain(heard: recordings.Recordings, size: int, timed: int, device: str, *, autocast: bool) -> Measure:
    """Its recipe's step: noise from files, features, network, margin, Adam. The speech is in memory already."""
    from peers import brain

    speech = torch.from_numpy(_stack(heard, size)).to(device)
    speakers = len(heard.manifest.speakers)
    labels = torch.randint(speakers, (size, 1), device=device)
    lengths = torch.ones(size, device=device)
    noise = brain.AddNoise(str(heard.pieces), snr_low=SNR_DB[0], snr_high=SNR_DB[1])
    features = brain.Fbank(n_mels=80).to(device)
    normalise = brain.InputNormalization(norm_type="sentence", std_norm=False)
    network = brain.ECAPA_TDNN(80, lin_neurons=192, channels=[512, 512, 512, 512, 1536]).to(device)
    classifier = brain.Classifier(192, out_neurons=speakers).to(device)
    loss_of = brain.LogSoftmaxWrapper(brain.AdditiveAngularMargin(margin=0.2, scale=30))
    parameters = [*network.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.001, weight_decay=0.000002)

    def step() -> None:
        noisy = noise(speech, lengths)
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            inputs = normalise(features(noisy), lengths)
            loss = loss_of(classifier(network(inputs)), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        if not torch.isfinite(loss):
            raise FloatingPointError("the loss is not finite")

    def rate() -> float:
        for _ in range(WARM_STEPS):
            step()
        return size / seconds(lambda: [step() for _ in range(timed)]) * timed

    return rate


def _stack(heard: recordings.Recordings, size: int) -> np.ndarray:
    return np.stack(heard.waves(size, CROP_S))


def step_flops(encoder: SpeakerEncoder, size: int) -> float:
    """Return the floating-point operations of the network's products, forward and backward, for a batch."""
    counter = FlopCounterMode(display=False)
    waves = torch.randn(2, round(CROP_S * 16_000))
    with counter:
        encoder.train()(waves).sum().backward()
    features = FlopCounterMode(display=False)
    with features:
        encoder.network.fbank(waves)
    return (counter.get_total_flops() - features.get_total_flops()) * size / 2


def _matmul_gflops(dtype: torch.dtype, device: str) -> float:
    left, right = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    product()
    return 2 * MATRIX**3 / 1e9 / seconds(product, least_s=0.5)
