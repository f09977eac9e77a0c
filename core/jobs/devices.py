"""Which GPUs there are, found without torch, and how much of a job each worker gets at once."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from core.settings import Settings

CPU_SLOTS = 64  # images × restarts of a shard at 32×32: 10 s to a first result of a small model
GPU_SLOTS = 512  # what a GPU takes at its best throughput (256 images a pass), twice, so that passes stay full


@dataclass(frozen=True)
class Room:
    """How a job is cut: images × restarts at 32×32 that a worker is best given at once, and how many workers share."""

    slots: int = CPU_SLOTS
    workers: int = 1

    def slots_of(self, images: int, area: int) -> int:
        """Slots of a shard for `images` × restarts in all, each of `area` pixels: every worker gets a share."""
        most = max(1, self.slots * 32 * 32 // max(area, 32 * 32))
        return max(1, min(most, -(-images // self.workers)))


def room(settings: Settings, device: str, environment: Mapping[str, str] | None = None) -> Room:
    """For a job on `device` ("auto": the settings' own). A scheduler of others tells nothing of its GPUs: as a CPU."""
    wanted = settings.device if device == "auto" else device
    if settings.scheduler:
        return Room()
    gpus = visible_gpus(wanted, os.environ if environment is None else environment)
    if not gpus:
        return Room()
    return Room(GPU_SLOTS, len(gpus) if settings.executor == "dask" else 1)


def visible_gpus(device: str, environment: Mapping[str, str]) -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES, one for each worker, found without torch; none for device cpu."""
    if device == "cpu":
        return []
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        gpus = [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    else:
        gpus = listed_gpus()
    if device.startswith("cuda:"):
        place = int(device.removeprefix("cuda:"))
        return gpus[place : place + 1]
    return gpus


def listed_gpus() -> list[str]:
    """The indices that nvidia-smi lists; none where it is missing or fails."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()
