"""Work on the processor divided by batch rather than inside every operation."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")

MOST = 8
"""Items under way at once: each takes memory."""


def side_by_side(work: Callable[[T], Any], items: Iterable[T], device: torch.device) -> None:
    """Do `work` on every item: on a processor as many at once as torch has threads (up to `MOST`), sharing them out.

    Threads that divide an operation wait for each other at its end; where another program keeps a core busy they wait
    most of the time. Threads with an item each do not meet. What an item gives does not depend on the others.

    Args:
        work: without gradients; called from several threads.
        items: taken as they are needed, a few ahead.
        device: where the work is done; an accelerator gets one item after the other.
    """
    threads = torch.get_num_threads()
    at_once = min(threads, MOST) if device.type == "cpu" else 1
    if at_once == 1:
        for item in items:
            with torch.no_grad():
                work(item)
        return

    def alone(item: T) -> None:
        with torch.no_grad():
            work(item)

    try:
        with ThreadPoolExecutor(
            at_once, "model", initializer=lambda: torch.set_num_threads(threads // at_once)
        ) as pool:
            waiting: deque[Future[None]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(alone, item))
                    if len(waiting) > at_once:
                        waiting.popleft().result()
                while waiting:
                    waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)
