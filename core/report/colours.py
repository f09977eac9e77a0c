"""One colour map for every error map: cividis, which grows evenly in lightness and looks alike to the colour-blind.

Nuñez, Anderton and Renslow, PLOS ONE 13(7), 2018, e0199239; its colours at ten even steps, linear in between.
"""

import numpy as np

CIVIDIS = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
_STOPS = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in CIVIDIS], dtype=np.float64)


def coloured(shares: np.ndarray) -> np.ndarray:
    """(H, W) shares of the scale, cut to [0, 1] -> (H, W, 3) uint8: dark blue at 0, yellow at 1."""
    place = np.clip(np.nan_to_num(shares), 0, 1) * (len(_STOPS) - 1)
    channels = [np.interp(place, np.arange(len(_STOPS)), _STOPS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def gradient() -> str:
    """The scale as a CSS background, 0 on the left."""
    return f"linear-gradient(to right, {', '.join(CIVIDIS)})"
