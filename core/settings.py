"""The one place where the environment is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Settings:
    """Where things are kept and how work is run; all from SEMSIGHT_* variables."""

    home: Path  # everything the app writes: database, images, weights, logs
    database_url: str  # SQLAlchemy URL; SQLite under home unless SEMSIGHT_DATABASE_URL is set
    weights: Path  # where pretrained weights are looked for first
    datasets: Path  # where data sets are kept: NAME/ holds the files of one as their publisher names them
    scheduler: str | None  # address of a Dask scheduler; None starts a LocalCluster
    executor: str  # "dask" or "inline"
    device: str  # "auto", "cpu", "cuda", "cuda:1"
    threads: int  # CPU threads a worker computes with
    lease_seconds: float  # a runner silent for longer has lost its job
    checkpoint_seconds: float = 20.0  # work that a killed worker may lose
    silence_seconds: float = 900.0  # a shard without a sign of life for longer is taken for hung
    probe: bool = True  # measure an attack's pace in the background before it is launched
    torch_cache: Path | None = None  # where torch keeps downloaded checkpoints; None: not looked at
    folders: tuple[Path, ...] = ()  # beside `datasets`, those below which the app opens folder:PATH and parquet:PATH
    anywhere: bool = True  # whether paths elsewhere are opened too: not by the app, whose visitors type them

    @property
    def uploads(self) -> Path:
        """Folder for files as they came in, before intake."""
        return self.home / "uploads"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment` (default: the process's own)."""
    env = os.environ if environment is None else environment
    home = Path(env.get("SEMSIGHT_HOME") or Path.home() / ".semsight").expanduser().absolute()
    executor = env.get("SEMSIGHT_EXECUTOR", "dask")
    if executor not in ("dask", "inline"):
        raise UserError(f"SEMSIGHT_EXECUTOR must be dask or inline, not {executor!r}.")
    return Settings(
        home=home,
        database_url=env.get("SEMSIGHT_DATABASE_URL") or f"sqlite:///{home / 'semsight.db'}",
        weights=Path(env.get("SEMSIGHT_WEIGHTS") or home / "weights").expanduser().absolute(),
        datasets=Path(env.get("SEMSIGHT_DATASETS") or home / "datasets").expanduser().absolute(),
        scheduler=env.get("SEMSIGHT_SCHEDULER") or None,
        executor=executor,
        device=env.get("SEMSIGHT_DEVICE", "auto"),
        threads=_positive(env, "SEMSIGHT_THREADS", os.cpu_count() or 1),
        lease_seconds=_seconds(env, "SEMSIGHT_LEASE_SECONDS", 20),
        checkpoint_seconds=_seconds(env, "SEMSIGHT_CHECKPOINT_SECONDS", 20),
        silence_seconds=_seconds(env, "SEMSIGHT_SILENCE_SECONDS", 900),
        probe=env.get("SEMSIGHT_PROBE", "on") != "off",
        torch_cache=_torch_cache(env),
        folders=tuple(
            Path(one).expanduser().absolute() for one in env.get("SEMSIGHT_FOLDERS", "").split(os.pathsep) if one
        ),
    )


def _positive(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{name} must be a whole number of at least 1, not {text!r}.")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{name} must be a number of seconds, 0 or more, not {text!r}.")
    return seconds


def _torch_cache(env: Mapping[str, str]) -> Path:
    # The rule of torch.hub.get_dir, without importing torch.
    cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(env.get("TORCH_HOME") or cache / "torch").expanduser().absolute() / "hub" / "checkpoints"
