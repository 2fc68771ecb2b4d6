import threading
from collections.abc import Callable

import numpy as np

from voxanchor.audio.pcm import encode
from voxanchor.corpus.manifest import WaveStore
from voxanchor.types import Waveform


def pcm(seed: int, length: int = 1000) -> Waveform:
    draws = np.random.default_rng(seed).integers(-32768, 32768, length)
    return (draws / 32768).astype(np.float32)


class Loader:
    def __init__(self, wave: Waveform) -> None:
        self.wave, self.calls = wave, 0

    def __call__(self) -> Waveform:
        self.calls += 1
        return self.wave


def test_what_was_loaded_comes_back_in_16_bits_and_is_loaded_once() -> None:
    store = WaveStore()
    beyond = (1.5 * pcm(2)).astype(np.float32)
    between = (pcm(3) / 3).astype(np.float32)
    for name, wave in (("pcm", pcm(1)), ("beyond full scale", beyond), ("between steps", between)):
        loader = Loader(wave)
        for _ in range(3):
            np.testing.assert_array_equal(store.get(name, loader), encode(wave).waveform())
        assert loader.calls == 1
    np.testing.assert_array_equal(store.get("pcm", Loader(pcm(9))), pcm(1))


def test_16_bit_samples_and_waveforms_share_what_is_kept() -> None:
    store = WaveStore()
    kept = store.pcm("a", lambda: encode(pcm(1)))
    loader = Loader(pcm(2))
    np.testing.assert_array_equal(store.get("a", loader), pcm(1))
    assert loader.calls == 0
    assert store.pcm("a", lambda: encode(pcm(2))) is kept


def test_the_least_recently_used_leaves_first() -> None:
    store = WaveStore(max_bytes=2 * 2000)
    loaders = {name: Loader(pcm(i)) for i, name in enumerate("abc")}
    for name in "abac":
        store.get(name, loaders[name])
    store.get("a", loaders["a"])
    assert loaders["a"].calls == 1
    store.get("b", loaders["b"])
    assert loaders["b"].calls == 2


def test_threads_share_it() -> None:
    store = WaveStore(max_bytes=10_000)
    wrong: list[int] = []

    def work(seed: int) -> Callable[[], None]:
        def run() -> None:
            for i in range(200):
                key = (seed + i) % 12
                if not np.array_equal(store.get(str(key), Loader(pcm(key))), pcm(key)):
                    wrong.append(key)

        return run

    threads = [threading.Thread(target=work(seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
