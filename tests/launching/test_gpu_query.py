"""The probe of GPUs by PyTorch."""

import os
from collections.abc import Sequence

import pytest

from mcl.errors import UserError
from mcl.launching import gpu_query
from mcl.launching.gpu_query import default_precisions, visible_devices


def test_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match=r"PyTorch does not find GPU 98\. Give"):
        default_precisions(["98", "99"])


def test_mig_devices_are_probed_one_by_one_and_uuids_apart_from_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Sequence[str]] = []

    def answer(gpus: Sequence[str]) -> list[tuple[str, str]]:
        probed.append(gpus)
        return [("bfloat16", "8932f937")] * len(gpus)

    monkeypatch.setattr(gpu_query, "_probe", answer)
    gpus = ["0", "MIG-1", "GPU-a", "2", "MIG-2"]
    assert default_precisions(gpus) == dict.fromkeys(gpus, "bfloat16")
    assert sorted(probed) == [("0", "2"), ("GPU-a",), ("MIG-1",), ("MIG-2",)]
    assert default_precisions([]) == {}


def test_first_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_query, "_probe", lambda gpus: [("float32", "8932f937")])
    with pytest.raises(UserError, match="PyTorch does not find GPU 7"):
        default_precisions(["0", "7", "1"])


def test_failing_probe_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_query, "_PROGRAM", "raise RuntimeError('driver too old')")
    with pytest.raises(UserError, match=r"^[^\n]*PyTorch cannot use GPU 0: RuntimeError: driver too old$"):
        default_precisions(["0"])


def test_visible_devices_are_set_only_within_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with visible_devices("3"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_uuids_come_from_cuda_and_parts_are_named_by_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_query, "_probe", lambda gpus: [("float32", f"{gpu}-8932f937") for gpu in gpus])
    assert gpu_query.uuids(["1", "MIG-7"]) == {"1": "GPU-1-8932f937", "MIG-7": "MIG-7"}
