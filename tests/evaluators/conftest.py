"""What the tests of all problems share."""

import pytest
import torch

from vevolve.sandbox import Sandbox


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny operations: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sandbox():
    """One real sandbox for all tests here."""
    with Sandbox(arrays="torch") as opened:
        yield opened
