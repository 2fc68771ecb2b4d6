"""Work on the processor divided by batch rather than inside every operation."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def side_by_side(work: Callable[[T], Any], items: Iterable[T]) -> None:
    """Do `work` on every item, as many at once as torch has threads, each with one of them.

    Threads that divide an operation wait for each other at its end; where another program keeps a core busy they wait
    most of the time. Threads with an item each do not meet. What an item gives does not depend on the others.

    Args:
        work: without gradients; called from several threads.
        items: taken as they are needed, a few ahead.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for item in items:
            with torch.no_grad():
                work(item)
        return

    def alone(item: T) -> None:
        with torch.no_grad():
            work(item)

    try:
        with ThreadPoolExecutor(threads, "model", initializer=lambda: torch.set_num_threads(1)) as pool:
            waiting: deque[Future[None]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(alone, item))
                    if len(waiting) > threads:
                        waiting.popleft().result()
                while waiting:
                    waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)
