"""What the local cluster is told, and that its workers keep to it."""

import os
from dataclasses import replace

import pytest
from distributed import Client

from core.jobs import devices
from core.jobs.dask_executor import CONFIG, local_cluster, worker_specs
from core.jobs.devices import CPU_SLOTS, GPU_SLOTS, Room, room, visible_gpus
from core.jobs.plan import plan_attack
from core.settings import load_settings
from core.storage.store import Store
from tests.jobs.conftest import attack_job


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
    monkeypatch.setattr(devices, "listed_gpus", lambda: ["0", "1", "2"])
    assert visible_gpus(device, environment) == expected


def test_a_machine_without_nvidia_smi_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert visible_gpus("auto", {}) == []


def test_workers_are_pinned_one_a_gpu_and_share_the_memory(store: Store) -> None:
    three, none = worker_specs(store.settings, ["0", "GPU-b", "7"]), worker_specs(store.settings, [])
    pins = [spec["options"]["env"].get("CUDA_VISIBLE_DEVICES") for spec in three.values()]
    assert pins == ["0", "GPU-b", "7"]
    assert [spec["options"]["nthreads"] for spec in three.values()] == [1, 1, 1]
    (alone,) = none.values()
    assert "CUDA_VISIBLE_DEVICES" not in alone["options"]["env"]
    assert three[0]["options"]["memory_limit"] == pytest.approx(alone["options"]["memory_limit"] / 3, abs=1)
    assert CONFIG["distributed.worker.multiprocessing-method"] == "spawn"


def test_real_workers_see_only_their_own_gpu(home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")  # no such GPUs: the workers' own environment is what counts
    with local_cluster(load_settings()) as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(lambda: (os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()))
    assert sorted(gpu for gpu, _pid in seen.values()) == ["4", "7"]
    assert len({pid for _gpu, pid in seen.values()} - {os.getpid()}) == 2


def test_shards_are_cut_for_the_devices_at_hand(store: Store) -> None:
    settings = replace(store.settings, device="auto")
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert room(settings, "auto", {"CUDA_VISIBLE_DEVICES": ""}) == Room(CPU_SLOTS, 1)
    assert room(replace(settings, executor="dask"), "auto", two) == Room(GPU_SLOTS, 2)
    assert room(replace(settings, executor="inline"), "auto", two) == Room(GPU_SLOTS, 1)
    assert room(settings, "cpu", two) == Room(CPU_SLOTS, 1)
    assert room(replace(settings, scheduler="tcp://elsewhere:8786"), "cuda", two) == Room(CPU_SLOTS, 1)


def test_every_gpu_gets_its_share_and_large_images_make_small_shards(store: Store) -> None:
    assert Room(512, 1).slots_of(600, 32 * 32) == 512
    assert Room(512, 2).slots_of(600, 32 * 32) == 300
    assert Room(512, 2).slots_of(600, 64 * 64) == 128
    assert Room(64, 1).slots_of(8, 28 * 28) == 8
    assert Room(64, 1).slots_of(8, 1000 * 1000) == 1
    payload = attack_job(store, 6)
    shards = [plan for plan in plan_attack(payload, [0] * 6, Room(512, 3)) if plan.role == "attack"]
    assert [plan.targets for plan in shards] == [(0, 1), (2, 3), (4, 5)]
