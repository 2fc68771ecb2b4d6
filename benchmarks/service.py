"""What the service answers under load, and what batching does to it.

    python benchmarks/service.py                                   # the GE2E model, recordings made up here
    python benchmarks/service.py --model runs/robust --seconds 3 8 --clients 1 4 16

First the model alone: what a recording costs in batches of several sizes, the best of eight; and so many threads that
embed at once, each for itself, one after the other behind a lock, or merged into batches as the service does. Then
`voxanchor serve` in a process of its own: so many clients verify one recording after the other, with batches and
without. The clients run beside the service on the same cores.
"""

import argparse
import http.client
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import soundfile
from machine import describe

from voxanchor.models.batches import BATCH_S, pad
from voxanchor.runtime import keep_freed_memory
from voxanchor.service.engine import BatchingEmbedder
from voxanchor.verification.embedding import Embedder
from voxanchor.verification.loading import load

RATE = 16_000


def speech(number: int, seconds: float) -> np.ndarray:
    """A buzz in syllables: what the model computes does not depend on whose voice it is."""
    draw = np.random.default_rng(number)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch = draw.uniform(90, 220)
    wave = sum(np.sin(2 * np.pi * k * pitch * time_s + draw.uniform(0, 6)) / k for k in range(1, 20))
    wave = wave * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)) + 1e-3 * draw.standard_normal(len(time_s))
    return (0.1 * wave / np.abs(wave).max()).astype(np.float32)


def together(threads: int, seconds: float, job: Callable[[int], None]) -> tuple[float, float, float]:
    """Jobs a second, median and 95th percentile of milliseconds, of so many threads that repeat a job."""
    taken: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    def repeat(number: int) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            job(number)
            taken.append(1e3 * (time.perf_counter() - start))

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(repeat, number) for number in range(threads)]:
            future.result()
    rate = len(taken) / (time.perf_counter() - began)
    return rate, statistics.median(taken), float(np.quantile(taken, 0.95))


def line(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def facts(found: tuple[float, float, float]) -> list[str]:
    return [f"{found[0]:.1f}", f"{found[1]:.0f}", f"{found[2]:.0f}"]


def batch_sizes(embedder: Embedder, lengths: Sequence[float]) -> None:
    sizes = (1, 2, 4, 8, 16)
    print(f"| recording, s | {' | '.join(f'ms each, batch of {size}' for size in sizes)} |")
    print("|---" * (1 + len(sizes)) + "|")
    for length in lengths:
        costs = []
        for size in sizes:
            inputs = pad([speech(number, length) for number in range(size)])
            taken = []
            for _ in range(9):  # the first prepares
                began = time.perf_counter()
                embedder.embed(*inputs)
                taken.append(time.perf_counter() - began)
            costs.append(f"{1e3 * min(taken[1:]) / size:.1f}")
        line(length, *costs)
    print()


def model_alone(
    embedder: Embedder, lengths: Sequence[float], clients: Sequence[int], seconds: float, threads: int
) -> None:
    print("| model alone | recording, s | threads | a second | ms, median | ms, 95 % |")
    print("|---" * 6 + "|")
    lock = threading.Lock()

    def one_by_one(waves: np.ndarray, samples: np.ndarray) -> None:
        with lock:
            embedder.embed(waves, samples)

    for length in lengths:
        for count in clients:
            inputs = [pad([speech(number, length)]) for number in range(count)]
            batching = BatchingEmbedder(embedder, BATCH_S, threads)
            ways = {"each for itself": embedder.embed, "one by one": one_by_one, "in batches": batching.embed}
            for name, embed in ways.items():
                embed(*inputs[0])
                line(name, length, count, *facts(together(count, seconds, lambda number: embed(*inputs[number]))))  # noqa: B023
            batching.close()


def form(field: str, content: bytes) -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="a.wav"\r\n\r\n'.encode()
    return head + content + b"\r\n--edge--\r\n"


@contextmanager
def service(model: str, batch_s: float, threads: int) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "voxanchor", "serve", "--model", model, "--store", f"{folder}/voices.db"]
        process = subprocess.Popen(
            [*command, "--port", "0", "--batch-s", str(batch_s), "--model-threads", str(threads)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        address = process.stdout.readline()
        try:
            yield int(address.rpartition(":")[2])
        finally:
            process.terminate()
            process.wait()


def over_http(model: str, lengths: Sequence[float], clients: Sequence[int], seconds: float, threads: int) -> None:
    print("| service | recording, s | clients | requests a second | ms, median | ms, 95 % |")
    print("|---" * 6 + "|")
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    for length in lengths:
        bodies = []
        for number in range(max(clients)):
            buffer = io.BytesIO()
            soundfile.write(buffer, speech(number, length), RATE, format="WAV")
            bodies.append(buffer.getvalue())
        for name, batch_s in (("one by one", 0.0), ("in batches", BATCH_S)):
            with service(model, batch_s, threads) as port:
                connections = [http.client.HTTPConnection("127.0.0.1", port) for _ in bodies]

                def post(number: int, path: str, field: str) -> None:
                    connections[number].request("POST", path, form(field, bodies[number]), headers)  # noqa: B023
                    answer = connections[number].getresponse()  # noqa: B023
                    content = answer.read()
                    assert answer.status < 300, content

                post(0, "/v1/people/a", "recordings")
                for count in clients:
                    post(0, "/v1/people/a/verify", "recording")
                    found = together(count, seconds, lambda number: post(number, "/v1/people/a/verify", "recording"))
                    line(name, length, count, *facts(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ge2e")
    parser.add_argument("--seconds", type=float, nargs="+", default=[3.0], help="length of the recordings")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--threads", type=int, default=1, help="that run the model, in batches")
    parser.add_argument("--each", type=float, default=6.0, help="seconds per line of the table")
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command does
    told = describe(threads=os.cpu_count() or 1)
    print(
        f"{told['processor']}, {told['cores']} cores; Python {told['python']}; load {os.getloadavg()[0]:.1f}; ", end=""
    )
    print(f"model {arguments.model}\n")
    embedder = load(arguments.model).embedder
    batch_sizes(embedder, arguments.seconds)
    model_alone(embedder, arguments.seconds, arguments.clients, arguments.each, arguments.threads)
    print()
    over_http(arguments.model, arguments.seconds, arguments.clients, arguments.each, arguments.threads)


if __name__ == "__main__":
    sys.exit(main())
