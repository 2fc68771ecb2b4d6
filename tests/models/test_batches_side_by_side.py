"""Work divided by batch: everything is done once, alone, without gradients, and torch is left as it was."""

import threading

import pytest
import torch

from voxanchor.models.batches import side_by_side


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_done_once_with_one_thread_and_no_gradients(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        seen: list[tuple[int, int, bool]] = []
        lock = threading.Lock()
        weight = torch.nn.Parameter(torch.ones(3))

        def work(item: int) -> None:
            needs = (weight * item).requires_grad
            with lock:
                seen.append((item, torch.get_num_threads(), needs))

        side_by_side(work, iter(range(20)), torch.device("cpu"))
        assert sorted(item for item, _, _ in seen) == list(range(20))
        assert {used for _, used, _ in seen} == {1}
        assert not any(needs for _, _, needs in seen)
        assert torch.get_num_threads() == threads
        assert torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_ends_the_work_and_is_raised(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:

        def work(item: int) -> None:
            if item == 3:
                raise ValueError("item 3")

        with pytest.raises(ValueError, match="item 3"):
            side_by_side(work, range(1000), torch.device("cpu"))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
