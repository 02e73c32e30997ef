"""Tests that need a CUDA device."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, at the first product, of whatever test


def needs_gpu(test: Callable[..., Any]) -> Any:
    """Mark a test as ``gpu``, and skip it on machines without a CUDA device."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test))
