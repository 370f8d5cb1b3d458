import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from model.threads import limit_threads


def counts():
    _ = np.ones((2, 2)) @ np.ones((2, 2))
    return [pool["num_threads"] for pool in threadpool_info()]


def test_threads_are_limited_inside_and_restored_outside():
    torch.set_num_threads(2)
    before = counts()
    with limit_threads():
        assert torch.get_num_threads() == 1
        assert set(counts()) == {1}
    assert torch.get_num_threads() == 2
    assert counts() == before
    torch.set_num_threads(1)


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()

    @limit_threads(1)
    def fail():
        raise ValueError(torch.get_num_threads())

    with pytest.raises(ValueError, match="1"):
        fail()
    assert torch.get_num_threads() == before
