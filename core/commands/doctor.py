"""`python -m core doctor`: what this machine has and what is missing."""

import argparse
import importlib.metadata
import platform
import shutil
from collections.abc import Iterator

from core import __version__
from core.errors import UserError
from core.settings import Settings, load_settings

HELP = "Say which devices, weights, database, storage and versions SemSight finds here."
EXAMPLES = """examples:
  python -m core doctor
  python -m core doctor --download      fetch the pretrained weights that metrics need, each with its checksum
  SEMSIGHT_HOME=/data/semsight python -m core doctor
"""
PACKAGES = (
    *("torch", "torchvision", "streamlit", "lpips", "torchmetrics", "scikit-image", "scipy"),
    *("pandas", "pyarrow", "dask", "sqlalchemy"),
)

Finding = tuple[bool, str, str]  # fine?, what, what was found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--download", action="store_true", help="fetch weights that are missing, with their checksums")


def run(arguments: argparse.Namespace) -> int:
    """Print one line a finding; 0 unless the store cannot be used or a download that was asked for failed."""
    from core.models.weights import WEIGHTS

    settings = load_settings()
    usable = True
    for fine, subject, found in _findings(settings, arguments.download):
        print(f"{'ok     ' if fine else 'missing'}  {subject:<32} {found}")
        needed = subject in ("storage", "database") or (arguments.download and subject in WEIGHTS)
        usable = usable and (fine or not needed)
    return 0 if usable else 1


def _findings(settings: Settings, download: bool) -> Iterator[Finding]:
    yield True, "semsight", f"{__version__} on Python {platform.python_version()}, {platform.platform()}"
    yield from (_package(name) for name in PACKAGES)
    yield from _devices()
    yield from _store(settings)
    yield from _weights(settings, download)


def _package(name: str) -> Finding:
    try:
        return True, name, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False, name, "not installed; run: pip install -r requirements.txt"


def _devices() -> Iterator[Finding]:
    import torch

    yield True, "cpu", f"{torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        yield True, "gpu", "none found; attacks run on the CPU"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield True, f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _store(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy.engine import make_url

    from core.storage.store import open_store

    try:
        open_store(settings)
    except UserError as error:
        yield False, "storage", str(error)
        return
    free = shutil.disk_usage(settings.home).free / 2**30
    yield True, "storage", f"{settings.home} ({free:.1f} GiB free)"
    yield True, "database", make_url(settings.database_url).render_as_string(hide_password=True)


def _weights(settings: Settings, download: bool) -> Iterator[Finding]:
    from core.metrics.registry import METRICS, availability
    from core.metrics.sets import SET_METRICS, missing_for_set
    from core.models.weights import WEIGHTS, MissingWeights, find_weights

    missing = set()
    for name in WEIGHTS:
        found = find_weights(name, settings, download=download)
        if isinstance(found, MissingWeights):
            missing.add(name)
            yield False, name, found.reason
        else:
            yield True, name, f"{found.path} (sha256 {found.sha256[:12]})"
    reasons = availability(settings)
    metrics = [(name, metric.needs, reasons[name]) for name, metric in METRICS.items() if not metric.diagnostic]
    metrics += [(name, metric.needs, missing_for_set(metric, settings)) for name, metric in SET_METRICS.items()]
    for name, needs, reason in metrics:
        above = [weights for weights in needs if weights in missing]
        yield not reason, f"metric {name}", f"needs {', '.join(above)} (above)" if above else reason or "available"
