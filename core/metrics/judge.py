"""An independent classifier's verdict: does a classifier that is not the victim still name the class?

Judges are found by core.models.judges. For each pair one is asked that knows the class by name, is not the victim, and
as far as names can tell was not trained on this original. Where there is none the pair has no value.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.models.judges import Judge, find_judges
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as core.images.resize makes grey


def probability(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """(N,) float64: the judge's softmax probability of the true class, seen the reconstruction; in [0, 1].

    NaN where no judge can be asked about this pair; UserError where none can about any.
    """
    return _asked(reconstructions, context, lambda logits, label: logits.softmax(1)[:, label])


def top1(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """(N,) float64: 1 where the judge's most probable class of the reconstruction is the true one, else 0.

    NaN where no judge can be asked about this pair; UserError where none can about any.
    """
    return _asked(reconstructions, context, lambda logits, label: (logits.argmax(1) == label).double())


def _asked(
    images: torch.Tensor, context: Context | None, answer: Callable[[torch.Tensor, int], torch.Tensor]
) -> torch.Tensor:
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    if reason := lacks_judge(settings, context):
        raise UserError(reason)
    groups: dict[tuple[Judge, int], list[int]] = defaultdict(list)
    for row, judge in enumerate(chosen(settings, context, len(images))):
        if judge is not None and context is not None and context.classes is not None:
            label = judge.class_of(context.classes[row] or "")
            groups[judge, -1 if label is None else label].append(row)
    result = torch.full((len(images),), math.nan, dtype=torch.float64, device=images.device)
    for (judge, label), rows in groups.items():
        model = _load(judge, str(images.device))
        result[rows] = answer(model(seen(images[rows], judge)).double(), label)
    return result


def chosen(settings: Settings, context: Context | None, count: int, *, partial: bool = False) -> list[Judge | None]:
    """Which judge is asked about each of `count` pairs, or None where there is none.

    partial: those that were trained on the original count too, to tell why there is none.
    """
    if context is None or context.classes is None:
        return [None] * count
    names = context.names or (None,) * count
    judges = [judge for judge in find_judges(settings).found if judge.sha256 != context.victim_sha]
    return [_choose(judges, class_, name, partial) for class_, name in zip(context.classes, names, strict=True)]


def _choose(judges: Sequence[Judge], class_: str | None, name: str | None, partial: bool) -> Judge | None:
    """Of the judges that did not see the original a user's own first, then the more accurate."""
    if class_ is None:
        return None
    able = [j for j in judges if j.class_of(class_) is not None and (not j.only or name is None or name in j.only)]
    able = [j for j in able if partial or name not in j.trained_on]
    return min(able, key=lambda j: (j.bundled, -(j.held_out_accuracy or 0), j.name), default=None)


def seen(images: torch.Tensor, judge: Judge) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1] as the judge takes them: its size (bicubic, antialiased), channels and normalisation.

    The whole image is squeezed in; one that has the judge's size already is not resampled.
    """
    import torch

    spec, x = judge.spec, images.float()
    if x.shape[-2:] != (spec.height, spec.width):
        x = torch.nn.functional.interpolate(x, (spec.height, spec.width), mode="bicubic", antialias=True).clamp(0, 1)
    if spec.channels == 1:
        x = (x * torch.tensor(LUMA, device=x.device).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    mean, std = (torch.tensor(row, device=x.device).reshape(1, -1, 1, 1) for row in (spec.mean, spec.std))
    return (x - mean) / std


@lru_cache(maxsize=8)
def _load(judge: Judge, device: str) -> torch.nn.Module:
    from core.models.build import build_model, load_weights

    try:
        model = build_model(judge.spec, load_weights(judge.path))
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"The judge {judge.name} cannot be asked: {error}") from error
    return model.requires_grad_(False).to(device)


def lacks_judge(settings: Settings, context: Context | None) -> str:
    """Why no judge can be asked about any of these pairs, or ""."""
    if context is None or context.classes is None or not any(context.classes):
        return "A classifier's verdict needs each original's class by name, which only an audit of named classes has."
    count = len(context.classes)
    if any(chosen(settings, context, count)):
        return ""
    shown = ", ".join(sorted({repr(name) for name in context.classes if name})[:5])
    if any(chosen(settings, context, count, partial=True)):
        return f"Every judge of {shown} but the victim was trained on these very originals; {HOW}"
    if any(chosen(settings, replace(context, victim_sha=""), count, partial=True)):
        return f"The only judge of {shown} is the victim itself, which is not independent; {HOW}"
    if any(judge.class_of(name or "") is not None for judge in find_judges(settings).found for name in context.classes):
        return f"The judges that know a class called {shown} are for other images only; {HOW}"
    return f"No judge knows the classes {shown}; {HOW}"


HOW = "put a classifier of them, NAME.json and NAME.safetensors, under SEMSIGHT_WEIGHTS/judges (see docs/metrics.md)."


def judges_sha256(settings: Settings) -> str:
    """sha256 over all judges, so that scores by others are told apart; UserError where there is none.

    Beside the weights their JSON counts, which decides how a judge sees and what it may be asked about, and the name
    and the place, which decide between two.
    """
    judges = find_judges(settings)
    if not judges.found:
        raise UserError("There is no judge, not even those that come with SemSight: restore assets/judges.")
    lines = sorted(f"{j.record_sha256} {j.sha256} {j.bundled} {j.name}" for j in judges.found)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _metric(
    name: str,
    title: str,
    compute: Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor],
    sees: str,
    direction: Literal["higher", "lower"] = "higher",
) -> Metric:
    return Metric(
        name=name,
        title=title,
        direction=direction,
        bounds=(0.0, 1.0),
        unit="",
        kind="pair",
        minimum_size=1,
        needs=(),
        input_size=None,
        version="2",  # 1 asked judges that had been trained on the original where no other was left
        source="a classifier that is neither the victim nor, where names tell, trained on this original (no value "
        "where there is none); the reconstruction resized to its input, bicubic with antialiasing",
        compute=compute,
        sees=sees,
        misses="A classifier is no person: it can go by colour alone, may name noise, and never says which picture of "
        "the class it was.",
        files=judges_sha256,
        lacks=lacks_judge,
        symmetric=False,
    )


METRICS = (
    _metric(
        "classifier_probability",
        "Independent classifier's probability of the true class",
        probability,
        "It says how sure a classifier that had no part in the attack is that the reconstruction shows the true class.",
    ),
    _metric(
        "classifier_top1",
        "Independent classifier names the true class",
        top1,
        "It says whether a classifier that had no part in the attack names the true class of the reconstruction.",
    ),
)
