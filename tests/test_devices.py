"""Devices and precision: the given device is used, and float32 stays float32 on any hardware."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from support.gpu import needs_gpu

from mcl import devices
from mcl.config.compose import compose_train
from mcl.data import random_operations, resizing
from mcl.data.random_operations import RandomOperations
from mcl.devices import (
    autocast,
    default_precision,
    find_device,
    has_tf32,
    precision_notes,
    use_deterministic,
    use_tf32,
)
from mcl.errors import UserError
from mcl.training.setup import assemble


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fake a machine with four GPUs; the list collects the numbers that become the current device."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_processes_of_a_machine_use_different_gpus(
    name: str, four_gpus: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_device(name) == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "8")
    for number in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(number))
        assert find_device(name) == torch.device("cuda", number)
    assert four_gpus == [0, 1, 2, 3]
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(UserError, match=r"process 5 of this machine finds 4 GPUs.*--nproc_per_node=4"):
        find_device(name)


def test_several_processes_do_not_share_one_gpu(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cuda:3") == torch.device("cuda", 3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"trainer.device=cuda:3: each of several processes .*trainer.device=cuda\."):
        find_device("cuda:3")
    assert find_device("cpu") == torch.device("cpu")


def test_default_precision_is_that_of_the_given_device(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    generations = [(7, 5), (8, 0), (9, 0), (6, 1)]
    properties = [SimpleNamespace(major=major, minor=minor) for major, minor in generations]
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device=None: properties[torch.device(device or 0).index or 0]
    )
    precisions = [default_precision(name) for name in ("cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:3", "cpu")]
    assert precisions == ["float32", "float32", "bfloat16", "bfloat16", "float32", "float32"]


@pytest.fixture
def tf32_restored() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    ("precision", "in_convolutions", "in_products"),
    [("float32", False, False), ("tf32", True, True), ("bfloat16", True, False), ("float16", True, False)],
)
def test_float32_means_float32_on_every_device(
    precision: str, in_convolutions: bool, in_products: bool, tf32_restored: None
) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = not in_convolutions, not in_products
    use_tf32(precision)
    assert torch.backends.cudnn.allow_tf32 == in_convolutions
    assert torch.backends.cuda.matmul.allow_tf32 == in_products


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("float32", torch.float32),
        ("tf32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_networks_compute_in_the_given_precision(precision: str, dtype: torch.dtype) -> None:
    with autocast(torch.device("cpu"), precision):
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is dtype


@pytest.mark.parametrize(
    ("machine", "capability", "noted"),
    [("x86_64", "AVX2", True), ("AMD64", "DEFAULT", True), ("x86_64", "AVX512", False), ("aarch64", "DEFAULT", False)],
)
def test_slow_bfloat16_of_a_processor_is_noted(
    machine: str, capability: str, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.platform, "machine", lambda: machine)
    monkeypatch.setattr(devices, "cpu_capability", lambda: capability)
    start = "trainer.precision=bfloat16: without AVX-512, this processor takes many times as long"
    notes = assemble(compose_train(["trainer.device=cpu", "trainer.precision=bfloat16"])).notes
    assert [note.startswith(start) for note in notes] == [True] * noted
    assert precision_notes(torch.device("cpu"), "float32") == precision_notes(torch.device("cuda"), "bfloat16") == []


def test_only_recent_gpus_multiply_in_tf32(four_gpus: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: [(7, 5), (8, 0)][device.index])
    found = [has_tf32(torch.device(name)) for name in ("cpu", "mps", "cuda:0", "cuda:1")]
    assert found == [False, False, False, True]


def test_float32_in_place_of_tf32_is_reported(tf32_restored: None) -> None:
    options = ["trainer.device=cpu", "dataset=synthetic", "loss=independent", "tracking=none"]
    notes = [note for note in assemble(compose_train([*options, "trainer.precision=tf32"])).notes if "TF32" in note]
    assert notes == ["trainer.precision=tf32: cpu does not support TF32, so this run is in float32."]


def test_pixels_are_not_computed_in_tf32(tf32_restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = []

    def note(images: torch.Tensor, *_: object) -> torch.Tensor:
        allowed.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return images

    monkeypatch.setattr(resizing, "_round", note)
    monkeypatch.setattr(random_operations, "affine", note)
    use_tf32("tf32")
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    resizing.resize_parts(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), box, box, torch.tensor([False]), 4, 4)
    RandomOperations("trivial").apply(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.tensor([[1.0, 3.0, 1.0]]))
    assert allowed == [(False, False)] * 3
    assert torch.backends.cudnn.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32


def test_every_run_prepares_cuda_for_later_deterministic_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    use_deterministic(False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@needs_gpu
def test_tf32_rounds_products_on_a_gpu(tf32_restored: None) -> None:
    a = torch.rand(256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ a.double()
    errors = {}
    for precision in ("float32", "tf32"):
        use_tf32(precision)
        errors[precision] = float(((a.cuda() @ a.cuda()).cpu() - exact).abs().max() / exact.abs().max())
    assert errors["float32"] < 1e-6
    assert 1e-6 < errors["tf32"] < 1e-2
