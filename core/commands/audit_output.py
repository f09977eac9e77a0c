"""What `audit` leaves behind: PNG files, scores.csv and run.json, in place whole or not at all."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import core
from core.commands.audit_run import ROLES, AuditResult, Row
from core.errors import UserError
from core.jobs.compose import AttackRequest, defend
from core.leakage.pairing import COSTS, NEAREST
from core.statistics.estimate import json_number

OURS = ("originals", "sources", "reconstructions", "controls", "scores.csv", "scores_source.csv", "run.json")


def check_folder(out: Path) -> None:
    """Refuse, before hours of work, a folder that cannot be written or that holds something else of the user's."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out must be a folder, but {out.name!r} is a file; choose another name.")
    out = out.resolve()
    strangers = [child.name for child in out.iterdir() if child.name not in OURS] if out.is_dir() else []
    if out.is_dir() and any(out.iterdir()) and (strangers or not (out / "run.json").is_file()):
        raise UserError(f"The folder {out.name!r} holds other files; choose a new one, so that nothing is lost.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"The folder {out.name!r} cannot be written ({error.strerror}); choose another.") from error


def write(out: Path, request: AttackRequest, result: AuditResult, threat: dict[str, Any]) -> None:
    """Write everything beside `out`, then put it in place. Replaces what an earlier audit left there.

    Raises UserError when the disk does not take it.
    """
    out = out.resolve()
    try:
        _write(out, request, result, threat)
    except OSError as error:
        raise UserError(
            f"The results could not be written to {out.name!r}: {error.strerror}; free some space."
        ) from error


def _write(out: Path, request: AttackRequest, result: AuditResult, threat: dict[str, Any]) -> None:
    part = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _write_images(part, result.rows)
        _write_originals(part, request)
        attack = [index for index, row in enumerate(result.rows) if row.role == "attack"]
        (part / "scores.csv").write_bytes(_table(result, _of_rows(result.scores, attack)))
        if result.source_scores:
            (part / "scores_source.csv").write_bytes(_table(result, result.source_scores))
        text = json.dumps(_run_record(request, result, threat), indent=2, allow_nan=False)
        (part / "run.json").write_text(text + "\n", encoding="utf-8")
        part.chmod(0o755)
        old = part.with_name(f"{part.name}.old")
        if out.exists():
            os.replace(out, old)  # a folder in use as a working directory may be renamed, not removed first
        os.replace(part, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def summary(result: AuditResult) -> Iterator[str]:
    """A few lines for the terminal: the median of each metric for the attack and its controls."""
    from core.metrics.registry import METRICS

    yield from (f"warning: {line}" for line in sorted(set(result.warnings)))
    roles = [role for role in ROLES if any(row.role == role for row in result.rows)]
    shown = [
        name
        for name, values in result.scores.items()
        if not METRICS[name].diagnostic and any(value is not None for value, _ in values)
    ]
    width = max((len(name) for name in ("median", *shown)), default=0) + 1
    yield f"{'median':<{width}}" + "".join(f"{role:>12}" for role in roles) + "   more leakage"
    for name in shown:
        cells = []
        for role in roles:
            pairs = zip(result.rows, result.scores[name], strict=True)
            found = [float(value) for row, (value, _) in pairs if row.role == role and value is not None]
            cells.append(f"{np.median(found):12.4g}" if found else f"{'–':>12}")
        yield f"{name:<{width}}" + "".join(cells) + ("   ↑" if METRICS[name].direction == "higher" else "   ↓")
    missing: dict[str, list[str]] = {}
    for name, values in result.scores.items():
        if all(value is None for value, _ in values):
            missing.setdefault(values[0][1].removeprefix("unavailable: "), []).append(name)
    yield from (f"unavailable: {', '.join(names)}: {reason}" for reason, names in missing.items())


def _write_images(folder: Path, rows: list[Row]) -> None:
    from core.storage.artifacts import encode_png

    for row in rows:
        places = {"attack": folder / "reconstructions"}
        target = places.get(row.role, folder / "controls" / row.role)
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{row.name}.png").write_bytes(encode_png(row.reconstruction))


def _write_originals(folder: Path, request: AttackRequest) -> None:
    """Every original, and what it was before an input defence where one changed it: `--again` starts from there."""
    from core.storage.artifacts import encode_png

    for before, after in zip(request.prepared, defend(request).prepared, strict=True):
        (folder / "originals").mkdir(exist_ok=True)
        (folder / "originals" / f"{after.name}.png").write_bytes(encode_png(after.original))
        if not np.array_equal(before.original, after.original):
            (folder / "sources").mkdir(exist_ok=True)
            (folder / "sources" / f"{before.name}.png").write_bytes(encode_png(before.original))


def _of_rows(scores: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    return {name: [values[index] for index in rows] for name, values in scores.items()}


def _table(result: AuditResult, scores: dict[str, Any]) -> bytes:
    """scores.csv, or scores_source.csv, of the attack's rows; a metric that no pair has is left out.

    scores: of those rows, in their order. The reasons stand in run.json.
    """
    import pandas as pd

    from core.tables import write_csv

    attack = [index for index, row in enumerate(result.rows) if row.role == "attack"]
    columns: dict[str, list[Any]] = {
        "name": [result.rows[i].name for i in attack],
        "label": [result.rows[i].label for i in attack],
        "loss": [result.rows[i].loss for i in attack],
        "iterations": [result.rows[i].iterations for i in attack],
        "seconds": [round(result.rows[i].seconds, 3) for i in attack],
    }
    for name, values in scores.items():
        numbers = [_number(value) for value, _ in values]
        if any(number is not None for number in numbers):
            columns[name] = [math.nan if number is None else number for number in numbers]
    return write_csv(pd.DataFrame(columns))


def _run_record(request: AttackRequest, result: AuditResult, threat: dict[str, Any]) -> dict[str, Any]:
    roles = {row.role for row in result.rows} - {"attack"}
    return {
        "semsight": core.__version__,
        "model": {"name": request.model_name, **json.loads(request.spec.to_json())},
        "images": [
            {"name": image.name, "label": image.label, "label_source": image.label_source, "class": image.class_name}
            for image in request.prepared
        ],
        "dataset": request.dataset,
        "threat_model": threat,
        "attack": request.attack,
        "config": result.payload["config"],
        "seed": request.seed,
        "asked": {"controls": request.controls, "device": request.device},
        "original_pixels_sha256": list(result.payload["original_hashes"]),
        "status": {row.name: row.status for row in result.rows if row.role == "attack"},
        **_nearest(result),
        **_source(request, result),
        "warnings": result.warnings,
        "shards": result.records,
        "metrics": result.scoring,
        "unavailable": {n: v[0][1] for n, v in result.scores.items() if all(value is None for value, _ in v)},
        "controls": {role: _control_scores(result, role) for role in sorted(roles)},
        "timings": {"attack_seconds": sum(row.seconds for row in result.rows if row.role == "attack")},
    }


def _source(request: AttackRequest, result: AuditResult) -> dict[str, Any]:
    """Where an input defence changed pictures: which, and where the scores against what they were before are."""
    if not result.source_scores:
        return {}
    pairs = zip(request.prepared, defend(request).prepared, strict=True)
    changed = [before.name for before, after in pairs if not np.array_equal(before.original, after.original)]
    return {"source": {"scores": "scores_source.csv", "folder": "sources", "changed": changed}}


def _nearest(result: AuditResult) -> dict[str, Any]:
    """Of attacks on the model alone: which original each reconstruction is compared with, and how it was found."""
    pairs = {row.name: row.nearest for row in result.rows if row.role == "attack" and row.nearest}
    return {"pairing": {"method": NEAREST, "cost": COSTS[0], "originals": pairs}} if pairs else {}


def _control_scores(result: AuditResult, role: str) -> list[dict[str, Any]]:
    return [
        {"name": row.name, "status": row.status, **{n: json_number(_number(v[i][0])) for n, v in result.scores.items()}}
        for i, row in enumerate(result.rows)
        if row.role == role
    ]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
