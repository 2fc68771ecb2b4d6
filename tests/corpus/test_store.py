import threading
from collections.abc import Callable

import numpy as np

from voxanchor.corpus.store import WaveStore
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


def test_what_was_loaded_comes_back_bit_for_bit_and_is_loaded_once() -> None:
    store = WaveStore()
    beyond = (1.5 * pcm(2)).astype(np.float32)
    for name, wave in (
        ("pcm", pcm(1)),
        ("beyond full scale", beyond),
        ("between steps", (pcm(3) / 3).astype(np.float32)),
    ):
        loader = Loader(wave)
        for _ in range(3):
            np.testing.assert_array_equal(store.get(name, loader), wave)
        assert loader.calls == 1


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
