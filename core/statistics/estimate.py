"""What every statistic hands back."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Number: TypeAlias = float | str | None


@dataclass(frozen=True)
class Estimate:
    """A statistic with its interval.

    estimate, low and high are None where they are not defined; `reason` then says why in a few words.
    n counts what was used, unscored what was left out because it is NaN. Infinities are values.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int
    method: str
    reason: str = ""

    def to_dict(self) -> dict[str, Number | int]:
        """The estimate for strict JSON: no NaN, infinities as "inf" and "-inf", the reason only if there is one."""
        leaf: dict[str, Number | int] = {
            "estimate": json_number(self.estimate),
            "low": json_number(self.low),
            "high": json_number(self.high),
            "n": self.n,
            "unscored": self.unscored,
        }
        return leaf | {"reason": self.reason} if self.reason else leaf


def json_number(value: float | None) -> Number:
    """A number as strict JSON can hold it: NaN becomes None, an infinity its name."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def undefined(n: int, unscored: int, method: str, reason: str) -> Estimate:
    """The estimate of something that is not defined for this input."""
    return Estimate(None, None, None, n, unscored, method, reason)


def vector(values: npt.ArrayLike) -> Floats:
    """`values` as a one-dimensional array of float64; ValueError for any other shape."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"Expected one number a row, got an array of shape {array.shape}.")
    return array


def same_length(*arrays: npt.NDArray[np.generic]) -> None:
    """ValueError unless all have one length."""
    lengths = {len(a) for a in arrays}
    if len(lengths) > 1:
        raise ValueError(f"Expected arrays of one length, got {sorted(lengths)}.")
