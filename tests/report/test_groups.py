"""Which two measures are drawn against each other at first."""

import pytest

from core.report.groups import first_shown, group, two_measures


@pytest.mark.parametrize(
    ("names", "two"),
    [
        (("mse", "mae", "psnr", "ssim", "lpips_alex"), ("psnr", "lpips_alex")),
        (("mse", "psnr", "ssim", "classifier_probability"), ("psnr", "classifier_probability")),
        (("mse", "psnr", "ssim"), ("psnr", "ssim")),  # of another group, never MSE beside PSNR
        (("mse", "psnr"), ("psnr", "mse")),  # no choice left
        (("mse",), ("mse", "mse")),
    ],
)
def test_two_measures_are_no_copies_of_each_other(names: tuple[str, ...], two: tuple[str, str]) -> None:
    assert two_measures(names) == two
    assert two_measures(reversed(names)) == two
    if len({group(name) for name in names}) > 1:
        assert group(two[0]) != group(two[1])


def test_without_a_measure_there_are_none() -> None:
    assert two_measures(()) is None


def test_as_few_as_asked_for() -> None:
    names = ("mse", "mae", "psnr", "ssim", "lpips_alex", "dists")
    assert first_shown(names, 3) == ("mse", "psnr", "ssim")
