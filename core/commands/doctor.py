"""`python -m core doctor`: what this machine has and what is missing."""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

from core import __version__
from core.errors import UserError
from core.settings import Settings, load_settings

HELP = "Say which devices, weights, database, storage and versions SemSight finds here."
EXAMPLES = """examples:
  python -m core doctor
  python -m core doctor --download      fetch the pretrained weights that metrics need (1.3 GB), each with its checksum
  python -m core doctor --pretrained resnet18 vit_b_16    fetch ImageNet weights that trainings may start from
  python -m core doctor --prune         delete what the rules allow (docs/disk.md), then say what is used
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
    parser.add_argument(
        "--pretrained", nargs="+", default=[], metavar="NAME", help="fetch torchvision's ImageNet weights"
    )
    parser.add_argument("--prune", action="store_true", help="delete old previews, checkpoints and caches by the rules")


def run(arguments: argparse.Namespace) -> int:
    """Print one line a finding; 0 unless the store cannot be used or a download that was asked for failed."""
    settings = load_settings()
    usable = True
    needed = {"storage", "database"} | (_downloadable() if arguments.download else set())
    needed |= {f"{name}-imagenet" for name in arguments.pretrained}
    for fine, subject, found in _findings(settings, arguments):
        print(f"{'ok     ' if fine else 'missing'}  {subject:<32} {found}", flush=True)
        usable = usable and (fine or subject not in needed)
    return 0 if usable else 1


def _findings(settings: Settings, arguments: argparse.Namespace) -> Iterator[Finding]:
    yield True, "semsight", f"{__version__} on Python {platform.python_version()}, {platform.platform()}"
    yield from (_package(name) for name in PACKAGES)
    yield from _devices()
    yield from _store(settings, arguments.prune)
    yield from _optional()
    yield from _datasets(settings)
    yield from _weights(settings, arguments.download)
    yield from _pretrained(settings, arguments.pretrained)
    yield from _judges(settings)
    yield from _metrics(settings)


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


def _store(settings: Settings, prune: bool) -> Iterator[Finding]:
    from sqlalchemy.engine import make_url

    from core.storage.store import open_store

    try:
        store = open_store(settings)
    except UserError as error:
        yield False, "storage", str(error)
        return
    from core.jobs.sweep import sweep
    from core.storage.space import size_words
    from core.storage.usage import disk_usage

    if prune:
        yield True, "pruned", sweep(store).words()
    used = disk_usage(store)
    yield True, "storage", f"{settings.home} ({size_words(used.total)} used, {size_words(used.free)} free)"
    for one in used.kinds:
        if one.files:
            yield True, f"disk {one.kind}", f"{size_words(one.bytes)} in {one.files:,} files: {one.rule}"
    yield True, "database", make_url(settings.database_url).render_as_string(hide_password=True)


def _optional() -> Iterator[Finding]:
    """Packages that only some metrics need."""
    from core.metrics.registry import METRICS

    users: dict[str, list[str]] = {}
    for metric in METRICS.values():
        for package in metric.packages:
            users.setdefault(package, []).append(metric.name)
    for package, names in users.items():
        if importlib.util.find_spec(package) is None:
            yield False, package, f"optional; pip install {package} brings {', '.join(names)}"
            continue
        try:
            yield True, package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            yield True, package, "installed, its version is not known"


def _datasets(settings: Settings) -> Iterator[Finding]:
    from core.images.datasets import DATASETS, how_to_place, is_here
    from core.images.published import folder_of

    for name, record in DATASETS.items():
        if record.bundled:
            yield True, f"data set {name}", "with SemSight"
        elif is_here(name, settings):
            yield True, f"data set {name}", str(folder_of(record, settings))
        else:
            fetch = record.by_hand and f"by hand only. {how_to_place(name, settings)}"
            yield (
                False,
                f"data set {name}",
                fetch or f"optional; python -m core datasets show {name} says how to get it",
            )


def _downloadable() -> set[str]:
    from core.models.weights import WEIGHTS

    return {record.name for record in WEIGHTS.values() if record.sha256}


def _weights(settings: Settings, download: bool) -> Iterator[Finding]:
    from core.models.weights import WEIGHTS, MissingWeights, find_weights

    for name, record in WEIGHTS.items():
        with _bar(name, record.mebibytes) as progress:
            found = find_weights(name, settings, download=download, progress=progress)
        if isinstance(found, MissingWeights):
            how = f" It has {record.mebibytes} MiB, licence {record.licence}." if record.sha256 else ""
            yield False, name, found.reason + how
        else:
            yield True, name, f"{found.path} (sha256 {found.sha256[:12]})"


def _pretrained(settings: Settings, wanted: list[str]) -> Iterator[Finding]:
    """ImageNet weights in one line, and one for each that was asked for."""
    from core.models.pretrained import PRETRAINED, find_pretrained, where_found
    from core.models.weights import MissingWeights

    for name in wanted:
        try:
            with _bar(name, PRETRAINED[name].mebibytes if name in PRETRAINED else 0) as progress:
                found = find_pretrained(name, settings, download=True, progress=progress)
        except UserError as error:
            found = MissingWeights(str(error))
        if isinstance(found, MissingWeights):
            yield False, f"{name}-imagenet", found.reason
        else:
            yield True, f"{name}-imagenet", f"{found.path} (sha256 {found.sha256[:12]})"
    here = [name for name in PRETRAINED if where_found(name, settings)]
    names = f" ({', '.join(here[:5])}{', …' if len(here) > 5 else ''})" if here else ""
    yield True, "imagenet weights", f"{len(here)} of {len(PRETRAINED)} found{names}; --pretrained NAME fetches one"


@contextlib.contextmanager
def _bar(name: str, mebibytes: int) -> Iterator[Callable[[int, int | None], None]]:
    """What a download calls as it goes: a bar on a terminal, nothing elsewhere, and nothing before its first bytes."""
    from tqdm import tqdm

    bars: list[Any] = []

    def progress(done: int, total: int | None) -> None:
        if not bars:
            size = total or mebibytes << 20
            bars.append(tqdm(desc=name, total=size, unit="B", unit_scale=True, disable=not sys.stderr.isatty()))
        bars[0].update(done - bars[0].n)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()


def _judges(settings: Settings) -> Iterator[Finding]:
    from core.models.judges import find_judges

    judges = find_judges(settings)
    for judge in judges.found:
        accuracy = "" if judge.held_out_accuracy is None else f", held-out accuracy {judge.held_out_accuracy:.0%}"
        classes = ", ".join(judge.spec.class_names[:6]) + (", …" if len(judge.spec.class_names) > 6 else "")
        where = "with SemSight" if judge.bundled else str(judge.path)
        yield True, f"judge {judge.name}", f"{where} (sha256 {judge.sha256[:12]}){accuracy}; {classes}"
    for name, fault in judges.faults.items():
        yield False, f"judge {name}", fault


def _metrics(settings: Settings) -> Iterator[Finding]:
    from core.metrics.registry import METRICS, missing_here
    from core.metrics.sets import SET_METRICS, missing_for_set

    for name, metric in METRICS.items():
        if metric.diagnostic:
            continue
        reason = missing_here(metric, settings)
        if any(need in reason for need in metric.needs):
            reason = f"needs {', '.join(metric.needs)} (above)"
        yield not reason, f"metric {name}", reason or ("available in an audit" if metric.lacks else "available")
    for name, one in SET_METRICS.items():
        missing = f"needs {', '.join(one.needs)} (above)" if missing_for_set(one, settings) else ""
        yield not missing, f"metric {name}", missing or "available"
