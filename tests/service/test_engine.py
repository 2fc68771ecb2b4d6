"""Many threads, one model: the same embeddings, in fewer batches, and errors to those they concern."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.service.asking import Held

from voxanchor.errors import AudioError
from voxanchor.models.batches import BATCH_S, pad
from voxanchor.service import requests
from voxanchor.service.engine import LEAST_FULL, BatchingEmbedder
from voxanchor.service.requests import Refusal
from voxanchor.types import Embeddings, Waveform
from voxanchor.verification.embedding import TorchEmbedder

Voice = Callable[..., np.ndarray]


def alone(embedder: TorchEmbedder, wave: Waveform) -> Embeddings:
    return embedder.embed(*pad([wave]))


def test_concurrent_calls_are_merged_and_give_what_they_give_alone(
    embedder: TorchEmbedder, held: Held, voice: Voice
) -> None:
    waves = [voice(speaker, 1, seconds) for speaker in range(6) for seconds in (1.0, 2.0, 2.3, 5.0)]
    with ThreadPoolExecutor(len(waves)) as pool:
        batching = BatchingEmbedder(held, BATCH_S)
        first = pool.submit(alone, batching, waves[0])  # type: ignore[arg-type]
        assert held.began.wait(10)
        others = [pool.submit(alone, batching, wave) for wave in waves[1:]]  # type: ignore[arg-type]
        while batching.waiting < len(waves) - 1:
            time.sleep(0.001)
        held.go.set()
        rows = [future.result() for future in (first, *others)]
        batching.close()
    for row, wave in zip(rows, waves, strict=True):
        np.testing.assert_allclose(row, alone(embedder, wave), atol=1e-5)
    assert held.batches == [1, 6, 12, 5]  # the longest first; 2.0 and 2.3 s are alike enough


def test_batches_hold_no_more_than_they_may(held: Held, voice: Voice) -> None:
    observed: list[int] = []
    batching = BatchingEmbedder(held, 5.0, observe=observed.append)
    held.go.set()
    waves, lengths = pad([voice(1, take, 2.0) for take in range(5)])
    assert batching.embed(waves, lengths).shape == (5, 16)
    assert observed == [2, 2, 1]
    batching.close()
    single = BatchingEmbedder(held, 0.0, observe=observed.append)
    single.embed(waves, lengths)
    assert observed[3:] == [1] * 5
    single.close()


def test_recordings_of_very_different_length_are_not_padded(held: Held, voice: Voice) -> None:
    batching = BatchingEmbedder(held, BATCH_S)
    held.go.set()
    batching.embed(*pad([voice(1, 1, 1.0), voice(1, 1, 1.0 / LEAST_FULL + 0.1)]))
    assert held.batches == [1, 1]
    batching.close()


class Picky:
    """A model that embeds nothing whose batch holds a negative sample, and waits before its first batch."""

    fingerprint, embedding_dim, min_samples, hears_level = "picky", 2, 1, False

    def __init__(self) -> None:
        self.go = threading.Event()

    def embed(self, waves: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        assert self.go.wait(20)
        if (waves[:, 0] < 0).any():
            raise AudioError("a negative beginning")
        return np.stack([lengths, lengths], axis=1).astype(np.float32)


def test_an_error_reaches_its_caller_alone() -> None:
    model, sizes = Picky(), list[int]()
    batching = BatchingEmbedder(model, BATCH_S, observe=sizes.append)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(batching.embed, *pad([np.ones(50, np.float32)]))
        while not sizes:
            time.sleep(0.001)
        signs = [1, 1, -1, 1, -1, 1, 1, 1]
        lengths = [100 + place for place in range(8)]
        waves = [np.full(length, sign, np.float32) for length, sign in zip(lengths, signs, strict=True)]
        found = [pool.submit(batching.embed, *pad([wave])) for wave in waves]
        while batching.waiting < 8:
            time.sleep(0.001)
        model.go.set()
        assert first.result()[0, 0] == 50
        for future, sign, length in zip(found, signs, lengths, strict=True):
            if sign < 0:
                with pytest.raises(AudioError, match="negative"):
                    future.result()
            else:
                assert future.result()[0, 0] == length
    assert sizes == [1, 8] + [1] * 8  # together, then each alone
    batching.close()


def test_what_was_given_up_is_dropped_from_the_queue(held: Held, voice: Voice) -> None:
    batching = BatchingEmbedder(held, BATCH_S)
    given_up = requests.Call()
    wave, length = pad([voice(1, 1, 1.0)])

    def ask(call: requests.Call) -> Embeddings:
        requests.enter(call)
        return batching.embed(wave, length)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, requests.Call())
        assert held.began.wait(10)
        dropped, kept = pool.submit(ask, given_up), pool.submit(ask, requests.Call())
        while batching.waiting < 2:
            time.sleep(0.001)
        assert given_up.deadline.give_up()
        held.go.set()
        assert first.result().shape == kept.result().shape == (1, 16)
        with pytest.raises(Refusal) as raised:
            dropped.result()
        assert raised.value.status_code == 504
    assert held.batches == [1, 1]
    with pytest.raises(Refusal):
        ask(given_up)
    batching.close()
    with pytest.raises(Refusal):
        ask(requests.Call())


def test_several_threads_share_what_waits(embedder: TorchEmbedder, held: Held, voice: Voice) -> None:
    batching = BatchingEmbedder(held, BATCH_S, threads=2)
    waves = [voice(speaker, 1, 1.0) for speaker in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(batching.embed, *pad([wave])) for wave in waves]
        assert held.began.wait(10)
        held.go.set()
        for future, wave in zip(found, waves, strict=True):
            np.testing.assert_allclose(future.result(), alone(embedder, wave), atol=1e-5)
    assert sum(held.batches) == 8
    assert max(held.batches) <= 4
    batching.close()


def test_closing_answers_those_who_wait(held: Held, voice: Voice) -> None:
    batching = BatchingEmbedder(held, BATCH_S)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(batching.embed, *pad([voice(1, take, 1.0)])) for take in range(2)]
        assert held.began.wait(10)
        closing = threading.Thread(target=batching.close)
        closing.start()
        held.go.set()
        closing.join(10)
        assert not closing.is_alive()
        done = [future.exception() is None or isinstance(future.exception(), Refusal) for future in waiting]
        assert done == [True, True]
