"""A change of variables that lets L-BFGS find the coarse shape of an image first."""

import math

import torch
from torch import Tensor


class SmoothBasis:
    """Images as weighted cosines: image = Σ w(f) z_f cos_f with w(f) ∝ (1 + |f|)^(−power), f in half waves an image.

    The set of images is the same and the optimum is the same; only the metric of the search changes. Pictures have
    most of their energy in low frequencies, and the leaked gradient says least about the high ones.
    """

    def __init__(self, height: int, width: int, power: float, like: Tensor) -> None:
        self.rows, self.columns = _cosines(height, like), _cosines(width, like)
        down = torch.arange(height, dtype=torch.float64)[:, None]
        across = torch.arange(width, dtype=torch.float64)
        weight = (1 + (down.square() + across.square()).sqrt()) ** -power
        self.weight = (weight / weight.mean()).to(like)

    def to_images(self, coefficients: Tensor) -> Tensor:
        """(…, H, W) coefficients -> (…, H, W) pixels."""
        return self.rows.T @ (self.weight * coefficients) @ self.columns

    def to_coefficients(self, images: Tensor) -> Tensor:
        """(…, H, W) pixels -> (…, H, W) coefficients."""
        return self.rows @ images @ self.columns.T / self.weight


def _cosines(size: int, like: Tensor) -> Tensor:
    """The orthonormal DCT-II matrix (size, size), row = frequency."""
    place = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    matrix = torch.cos(math.pi / size * frequency * place) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(like)
