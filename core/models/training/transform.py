"""ATS policies on a batch of 8-bit images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.images.policies import transform_signed


def transformed(
    pixels: np.ndarray, policies: Sequence[Sequence[int]], which: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """(B, H, W, C) uint8 through the policy that `which` (B,) names for each, with signs (B, longest) -> the same."""
    result = np.empty_like(pixels)
    for place, (image_pixels, policy) in enumerate(zip(pixels, which, strict=True)):
        image = Image.fromarray(image_pixels if pixels.shape[3] == 3 else image_pixels[..., 0])
        for position, number in enumerate(policies[policy]):
            image = transform_signed(image, number, int(signs[place, position]))
        result[place] = np.asarray(image).reshape(image_pixels.shape)
    return result
