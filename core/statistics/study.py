"""A human study as arrays, whatever file or store it came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from core.errors import UserError
from core.statistics.agreement import mean_of
from core.statistics.estimate import Floats

Direction: TypeAlias = Literal["higher", "lower"]
FEWEST_ANSWERS = 3  # below this many a reconstruction is undetermined
MOST_ROWS = 200_000  # resampling them takes minutes beyond this
MOST_PAIRS = 1_000_000  # of reconstructions of one original, over all originals
MOST_SETTINGS = 200  # all pairs of settings are compared in every resample


@dataclass(frozen=True)
class StudyData:
    """n reconstructions with the answers of k annotators and the scores of some metrics.

    setting, original: (n,) whole numbers from 0, which name the setting and the original of each row.
    recognised: (n, k), 1 recognised, 0 not (unsure and "nothing" too), NaN = gave no answer.
    metrics: name -> (n,) scores as published, NaN = not scored. directions: name -> which end means more leakage.
    """

    setting: npt.NDArray[np.int64]
    original: npt.NDArray[np.int64]
    recognised: Floats
    metrics: Mapping[str, Floats]
    directions: Mapping[str, Direction]
    setting_names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.recognised)
        lengths = {len(self.setting), len(self.original), n, *(len(v) for v in self.metrics.values())}
        if lengths != {n} or self.recognised.ndim != 2:
            raise ValueError(
                f"Expected arrays of one length and answers of shape (n, k), got lengths {sorted(lengths)}."
            )
        if n > MOST_ROWS:
            raise UserError(
                f"The study has {n:,} rows; at most {MOST_ROWS:,} can be correlated, so split it by data set."
            )
        if len(self.setting_names) > MOST_SETTINGS:
            raise UserError(
                f"The study has {len(self.setting_names):,} settings; at most {MOST_SETTINGS} can be compared "
                "(a setting is one model, defence, attack and data set)."
            )
        counts = np.bincount(self.original) if n else np.zeros(1)
        if (counts * (counts - 1) // 2).sum() > MOST_PAIRS:
            raise UserError(
                f"The study has up to {counts.max():,} reconstructions of one original, too many pairs to compare; "
                "check that image_id names the original, or split the study."
            )
        if np.isnan(self.recognised).all():
            raise UserError("The study holds no answers: nobody has labelled any of its reconstructions yet.")
        if set(self.metrics) - set(self.directions):
            raise ValueError(f"No direction for {sorted(set(self.metrics) - set(self.directions))}.")

    @property
    def rate(self) -> Floats:
        """(n,) recognition rate, NaN where nobody answered."""
        return mean_of(self.recognised)

    @property
    def recognisable(self) -> Floats:
        """(n,) 1 where the rate is above one half, else 0; NaN with fewer than 3 answers (undetermined)."""
        enough = (~np.isnan(self.recognised)).sum(1) >= FEWEST_ANSWERS
        return np.where(enough, (self.rate > 0.5).astype(np.float64), np.nan)

    def oriented(self, metric: str) -> Floats:
        """(n,) scores turned so that higher = more leakage."""
        values = self.metrics[metric]
        return values if self.directions[metric] == "higher" else -values
