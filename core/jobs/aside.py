"""What a page wants computed with torch at once: LPIPS's map of a pair, the scores of a few example pairs.

Each function answers at once: with the result, or Answer(ready=False) while one child process of this app
(`core.jobs.aside_child`) works on it; ask again. Results are kept by the content of the images, the metric's version
and the hash of its weights. No torch here.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.jobs.aside_service import Answer, Aside, Question
from core.jobs.packing import blob, pack
from core.metrics.base import Score
from core.metrics.registry import METRICS, weights_hash
from core.registry import look_up
from core.settings import Settings

__all__ = ["Answer", "example_scores", "lpips_map", "map_mark"]
MAP_METRIC = "lpips_alex"
MOST_PAIRS = 64
service = Aside()
atexit.register(service.close)


def lpips_map(settings: Settings, original_png: bytes, reconstruction_png: bytes) -> Answer:
    """Where LPIPS (AlexNet, native size) finds two pictures of one size different: (H, W) float32, at least 0.

    The local distances of every layer, enlarged bilinearly to the picture's size and added, as lpips gives them with
    spatial=True. The map's mean is near the score, not equal to it: enlarging keeps no mean.
    """
    parts = (original_png, reconstruction_png)
    key = _key("map", map_mark(settings), *(hashlib.sha256(part).hexdigest() for part in parts))
    header = {"what": "map", "metric": MAP_METRIC, "settings": _plain(settings)}
    data = pack(header, {"original": blob(original_png), "reconstruction": blob(reconstruction_png)})
    return service.ask(Question(key, data, _read_map, settings.home, urgent=True))  # a person waits for this one


def map_mark(settings: Settings) -> str:
    """What a map hangs on beside its pictures: the metric's version and weights as they lie here."""
    return _mark(MAP_METRIC, settings)


def example_scores(
    settings: Settings,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    classes: Sequence[str | None] = (),
    originals: Sequence[str | None] = (),
) -> Answer:
    """Scores of a few pairs of (H, W, 3) uint8 pictures: {metric: [Score for each pair]}, as score_pairs gives them.

    classes, originals: the pairs' true classes and originals by name, for the metrics that ask (a judge); empty where
    they are not known.
    """
    try:
        marks = [_mark(name, settings) for name in names]
        _check(pairs, classes, originals)
    except UserError as error:
        return Answer(True, problem=str(error))
    digests = [hashlib.sha256(f"{one.shape}".encode() + one.tobytes()).hexdigest() for pair in pairs for one in pair]
    known = {"classes": list(classes) or [None] * len(pairs), "originals": list(originals) or [None] * len(pairs)}
    header = {"what": "scores", "names": list(names), **known, "settings": _plain(settings)}
    arrays = {f"{side}{i}": one for i, pair in enumerate(pairs) for side, one in zip("or", pair, strict=True)}
    return service.ask(
        Question(_key("scores", *marks, *digests, str(known)), pack(header, arrays), _read_scores, settings.home)
    )


def _check(pairs: Sequence[tuple[np.ndarray, np.ndarray]], *named: Sequence[str | None]) -> None:
    for words in named:
        if words and len(words) != len(pairs):
            raise UserError(f"Expected a name for each of {len(pairs)} pairs, got {len(words)}; leave them out.")
    if len(pairs) > MOST_PAIRS:
        raise UserError(f"At most {MOST_PAIRS} pairs are scored at once, got {len(pairs)}; run a score job.")
    for pair in pairs:
        for one in pair:
            if one.dtype != np.uint8:
                raise UserError(f"Expected 8-bit pictures, got {one.dtype}.")


def _mark(name: str, settings: Settings) -> str:
    """The metric with its version and its weights as they lie here; an unknown metric is a UserError.

    torch's cache is not looked at: converting a file of it would import torch in this process. The child does look.
    """
    metric = look_up(METRICS, name, "metric")
    try:
        weights = weights_hash(name, replace(settings, torch_cache=None))
    except (UserError, OSError):
        weights = "missing"
    return f"{name} {metric.version} {weights}"


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _plain(settings: Settings) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return plain


def _read_map(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    found = arrays["map"]
    found.flags.writeable = False  # one array for all who ask
    return found


def _read_scores(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, list[Score]]:
    return {name: [Score(value, reason) for value, reason in rows] for name, rows in header["scores"].items()}
