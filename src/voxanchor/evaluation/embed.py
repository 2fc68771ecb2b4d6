"""Many recordings to embeddings: batched by length, prepared by threads while the model works."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from voxanchor.corpus.utterance import Utterance, read_known
from voxanchor.errors import AudioError, VoxanchorError
from voxanchor.models.batches import by_length, pad, refuse_short
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.registry import Embedder
from voxanchor.models.side_by_side import side_by_side
from voxanchor.progress import track
from voxanchor.types import Embeddings, IntArray, Waveform

Read = Callable[[Utterance], Waveform]


def embed(
    encoder: SpeakerEncoder, utterances: Sequence[Utterance], *, label: str, read: Read = read_known
) -> Embeddings:
    """Return (N, D) float32 unit vectors, row i for utterance i.

    Args:
        encoder: put into evaluation mode while it works, and left as it was found.
        utterances: N of them.
        label: what the progress display calls the job.
        read: gives an utterance's waveform; a condition is rendered here.

    Raises:
        AudioError: a recording shorter than the encoder can embed.
    """
    return embed_with([encoder], utterances, label=label, read=read)[0]


def embed_with(
    encoders: Sequence[Embedder],
    utterances: Sequence[Utterance],
    *,
    label: str,
    read: Read = read_known,
    precision: str = "float32",
) -> list[Embeddings]:
    """Return one (N, D) array per encoder; every recording is read, and its noise rendered, once for all of them.

    `precision` is that of the matrix products, as in `forward`.
    """
    results = [np.empty((len(utterances), encoder.embedding_dim), np.float32) for encoder in encoders]
    networks = [encoder for encoder in encoders if isinstance(encoder, SpeakerEncoder)]
    modes = [network.training for network in networks]
    shortest = max((encoder.min_samples for encoder in encoders), default=0)

    def long_enough(utterance: Utterance) -> Waveform:
        wave = read(utterance)
        refuse_short(utterance.id, wave, shortest)
        return wave

    try:
        for network in networks:
            network.eval()
        with track(label, len(utterances)) as advance:

            def work(batch: tuple[list[int], list[Waveform | VoxanchorError]]) -> None:
                places, loaded = batch
                padded, lengths = pad([_or_raise(wave) for wave in loaded], on_grid=True)
                for encoder, result in zip(encoders, results, strict=True):
                    result[places] = forward(encoder, padded, lengths, precision)
                advance(len(places))

            device = next(networks[0].parameters()).device if networks else torch.device("cpu")
            side_by_side(work, read_batches(utterances, long_enough), device)
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)
    return results


def embeddings_key(encoder: Embedder, precision: str = "float32") -> str:
    """Return what embeddings by an encoder are kept under: another name for whatever embeds otherwise."""
    if isinstance(encoder, ExportedEncoder):
        return f"{encoder.fingerprint}/onnx-{encoder.described['sha256'][:16]}"
    return encoder.fingerprint if precision == "float32" else f"{encoder.fingerprint}/{precision}"


def forward(
    encoder: Embedder, padded: NDArray[np.float32], lengths: IntArray, precision: str = "float32"
) -> Embeddings:
    """Return (B, D) float32 unit vectors in memory, computed where the encoder lies, of a batch that `pad` made.

    Args:
        encoder: in evaluation mode.
        padded: (B, T).
        lengths: (B,).
        precision: ``bfloat16`` for the matrix products of a torch model; an exported one keeps its own.
    """
    if isinstance(encoder, ExportedEncoder):
        return encoder.embed(padded, lengths)
    device = next(encoder.parameters()).device
    waves, samples = torch.from_numpy(padded).to(device), torch.from_numpy(lengths)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        embeddings: Embeddings = encoder(waves, samples).float().cpu().numpy()
    return embeddings


def read_batches(
    utterances: Sequence[Utterance], read: Read, readers: int = 1
) -> Iterator[tuple[list[int], list[Waveform | VoxanchorError]]]:
    """Yield the places of a batch's utterances and their waveforms, or in a waveform's place why there is none.

    Args:
        utterances: batched by the lengths they state.
        read: gives an utterance's waveform.
        readers: threads that read; so many batches and one more are under way while the model works.
    """

    def load(group: list[int]) -> list[Waveform | VoxanchorError]:
        return [_attempt(read, utterances[place]) for place in group]

    groups = by_length([utterance.duration_s for utterance in utterances])
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        upcoming = deque(pool.submit(load, group) for group in groups[: readers + 1])
        try:
            for i, group in enumerate(groups):
                loaded = upcoming.popleft().result()
                if i + readers + 1 < len(groups):
                    upcoming.append(pool.submit(load, groups[i + readers + 1]))
                yield group, loaded
        finally:
            for future in upcoming:
                future.cancel()


def _attempt(read: Read, utterance: Utterance) -> Waveform | VoxanchorError:
    try:
        return read(utterance)
    except VoxanchorError as error:
        return error
    except (OSError, MemoryError) as error:  # a disk or a network that fails in the midst of a file
        return AudioError.of(utterance.id, error)


def _or_raise(loaded: Waveform | VoxanchorError) -> Waveform:
    if isinstance(loaded, VoxanchorError):
        raise loaded
    return loaded
