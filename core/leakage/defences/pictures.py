"""Defences on the pictures, applied when a run is composed: ATS policies, crop and flip. Imports no torch.

The original is what comes out of here: it is stored, given to the victim, and compared with the reconstruction. The
picture as it came in stays beside it as its source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from core.images.picture import Prepared
from core.images.policies import apply_policy, parse
from core.knobs import knob
from core.leakage.defences.base import Defence

if TYPE_CHECKING:
    from core.leakage.threat import ThreatModel

NO_ANSWER = (
    "None: the attack reconstructs the changed picture, which is the original here; what the change hides is gone."
)


@dataclass(frozen=True)
class AtsConfig:
    """A policy or several."""

    policy: str = knob(
        "3-1-7",
        "Transformations by their index in the authors' list, applied in order, such as 3-1-7 or 43-18-18; with + "
        "between policies, each picture draws one.",
    )

    def __post_init__(self) -> None:
        """Raise UserError for a policy that cannot be read."""
        parse(self.policy)


@dataclass(frozen=True)
class CropFlipConfig:
    """A random crop of the padded picture, and a random flip."""

    padding: int = knob(4, "Black pixels added on each side before the crop.", unit="px", minimum=0, maximum=128)
    flip: bool = knob(True, "Mirror left and right with probability one half.")


def apply_ats(
    pictures: Sequence[np.ndarray], config: AtsConfig, draws: Sequence[np.random.Generator]
) -> list[np.ndarray]:
    """Each picture through one policy."""
    policies = parse(config.policy)
    return [apply_policy(pixels, policies, draw) for pixels, draw in zip(pictures, draws, strict=True)]


def crop_and_flip(
    pictures: Sequence[np.ndarray], config: CropFlipConfig, draws: Sequence[np.random.Generator]
) -> list[np.ndarray]:
    """Each picture padded, cropped to its size at a random place, and flipped or not."""
    changed = []
    for pixels, draw in zip(pictures, draws, strict=True):
        pad = config.padding
        top, left = (int(offset) for offset in draw.integers(0, 2 * pad, size=2, endpoint=True))
        wide = np.pad(pixels, ((pad, pad), (pad, pad), (0, 0)))
        part = wide[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        changed.append(np.ascontiguousarray(part[:, ::-1] if config.flip and draw.random() < 0.5 else part))
    return changed


def defended(prepared: Sequence[Prepared], threat: ThreatModel, seed: int) -> tuple[Prepared, ...]:
    """The originals after every input defence of the threat model, in its order; unchanged where there is none.

    prepared: the images of all updates, update by update and client by client. What is drawn for a picture depends on
    the seed, the defence's place and the picture's name alone. Raises UserError.
    """
    from core.leakage.defences import DEFENCES, configure_defence
    from core.registry import look_up

    images = list(prepared)
    for place, chosen in enumerate(threat.defences):
        change = look_up(DEFENCES, chosen.name, "defence").on_pictures
        if change is None:
            continue
        config = configure_defence(chosen.name, chosen.settings)
        for start in range(0, len(images), threat.client_images):
            group = images[start : start + threat.client_images]
            draws = [_draws(seed, place, image.name) for image in group]
            pixels = change([image.original for image in group], config, draws)
            images[start : start + len(group)] = [
                replace(image, original=new) for image, new in zip(group, pixels, strict=True)
            ]
    return tuple(images)


def _draws(seed: int, place: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\n{place}\n{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


ATS = Defence(
    name="ats",
    title="ATS policy",
    summary="Passes each picture through augmentations that were searched to mislead gradient inversion, such as large "
    "shifts and contrast. Costs little accuracy; what is seen in the changed picture still leaks.",
    source="Gao et al. 2021, Privacy-preserving Collaborative Learning with Automatic Transformation Search, arXiv "
    "2011.12505; indices as in their public code",
    place="input",
    config=AtsConfig(),
    on_pictures=apply_ats,
    adaptation=NO_ANSWER,
)
CROP_FLIP = Defence(
    name="crop-flip",
    title="Crop and flip",
    summary="Pads each picture with black, crops it to its size at a random place, and mirrors half of them. The usual "
    "augmentation of training; it moves a picture and hides little of it.",
    source="He et al. 2016, arXiv 1512.03385, section 4.2; in the human study, arXiv 2309.13038",
    place="input",
    config=CropFlipConfig(),
    on_pictures=crop_and_flip,
    adaptation=NO_ANSWER,
)
