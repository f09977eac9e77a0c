"""Shares as percent, by one rule for pages and terminal. Pure."""

import math

FINE = 1_000  # from so many on, a tenth of a percent stands for at least one of them


def percent(share: float | None, n: int | None = None) -> str:
    """A share of one as "62 %"; of n >= 1,000 as "62.4 %". Halves go up; "–" where there is none, or NaN.

    n: what the share was counted over, so that no digit claims more than one of them.
    """
    if share is None or math.isnan(share):
        return "–"
    scale = 10 if n is not None and n >= FINE else 1
    rounded = math.floor(round(100 * scale * share, 6) + 0.5) / scale
    return f"{rounded:.{1 if scale > 1 else 0}f} %"
