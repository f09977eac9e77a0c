"""What the local cluster is told, without starting one."""

import pytest

from core.jobs import dask_executor
from core.jobs.dask_executor import visible_gpus


@pytest.mark.parametrize(
    ("device", "environment", "expected"),
    [
        ("cpu", {"CUDA_VISIBLE_DEVICES": "0,1"}, []),
        ("auto", {"CUDA_VISIBLE_DEVICES": "0,1"}, ["0", "1"]),
        ("cuda", {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}, ["GPU-a", "GPU-b"]),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "4,7"}, ["7"]),
        ("auto", {"CUDA_VISIBLE_DEVICES": ""}, []),
        ("auto", {"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ("auto", {}, ["0", "1", "2"]),  # what nvidia-smi lists
    ],
)
def test_each_gpu_gets_a_worker_of_its_own(
    device: str, environment: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor, "_listed_gpus", lambda: ["0", "1", "2"])
    assert visible_gpus(device, environment) == expected


def test_a_machine_without_nvidia_smi_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert visible_gpus("auto", {}) == []
