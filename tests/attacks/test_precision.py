"""Coarser arithmetic: what it rounds, and when the check lets it pass."""

import pytest
import torch
from torch import Tensor

from core.attacks import precision
from core.attacks.passes import Passes
from core.errors import UserError


def rounded(x: Tensor) -> Tensor:
    """To 8 significant bits by hand: frexp gives a mantissa in [1/2, 1)."""
    mantissa, exponent = torch.frexp(x.double())
    return torch.ldexp((mantissa * 256).round() / 256, exponent).float()


def matrices(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 5, generator=draw), torch.randn(2, 3, 5, 6, generator=draw)


def test_bf16_products_are_exact_products_of_rounded_factors_also_in_their_derivatives():
    a, b = (x.requires_grad_(True) for x in matrices())
    outer = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    with precision.using("bf16"):
        value = precision.product(a, b)
        one, two = torch.autograd.grad(value, (a, b), outer, create_graph=True)
        (again,) = torch.autograd.grad(one.square().sum(), b)
    low_a, low_b, low_outer = rounded(a.detach()), rounded(b.detach()), rounded(outer)
    torch.testing.assert_close(value, low_a @ low_b)
    torch.testing.assert_close(one, low_outer @ low_b.transpose(-1, -2))
    torch.testing.assert_close(two, low_a.transpose(-1, -2) @ low_outer)
    # one = R(outer) R(b)ᵀ, so d Σ one² / d b = R(2 one)ᵀ R(outer)
    torch.testing.assert_close(again, rounded(2 * one.detach()).transpose(-1, -2) @ low_outer)
    assert not torch.allclose(value, a @ b, rtol=1e-5)


def test_float32_and_float64_are_left_as_they_are():
    a, b = matrices()
    assert torch.equal(precision.product(a, b), a @ b)
    with precision.using("bf16"):
        assert torch.equal(precision.product(a.double(), b.double()), a.double() @ b.double())


def test_the_mode_and_torchs_flags_are_put_back_whatever_happens():
    flag = torch.backends.cuda.matmul
    before = flag.allow_tf32

    def broken() -> None:
        with precision.using("tf32"):
            assert (precision.current(), flag.allow_tf32) == ("tf32", True)
            with precision.using("float32"):
                assert (precision.current(), flag.allow_tf32) == ("float32", False)
            assert (precision.current(), flag.allow_tf32) == ("tf32", True)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        broken()
    assert (precision.current(), flag.allow_tf32) == ("float32", before)


def test_agreement_by_hand():
    right = torch.tensor([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    cosine, signs = precision.agreement(torch.tensor([[4.0, 3.0, 9.0], [2.0, 0.0, 0.0]]), right)
    assert cosine == pytest.approx(24 / (5 * 106**0.5))
    assert signs == 1.0
    assert precision.agreement(torch.tensor([[3.0, -4.0, 0.0], [1.0, 0.0, 0.0]]), right)[1] == 0.5
    assert precision.agreement(torch.full((2, 3), torch.nan), right) == (-1.0, 0.0)
    assert precision.agreement(torch.zeros(2, 3), right) == (-1.0, 0.0)
    assert precision.agreement(torch.zeros(2, 3), torch.zeros(2, 3)) == (1.0, 1.0)


def test_the_check_takes_the_fastest_mode_that_agrees():
    def error_of(sizes: dict[str, float]):
        def gradient(points: Tensor) -> Tensor:
            noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(5))
            return points + sizes.get(precision.current(), 0.0) * noise

        return gradient

    points = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    good = precision.fastest_that_agrees(error_of({"bf16": 1e-3, "tf32": 1e-4}), points)
    assert good.mode == "bf16"
    assert list(good.checks) == ["bf16"]
    coarse = precision.fastest_that_agrees(error_of({"bf16": 0.3, "tf32": 1e-4}), points)
    assert coarse.mode == "tf32"
    assert coarse.checks["bf16"]["cosine"] < precision.LEAST_COSINE < coarse.checks["tf32"]["cosine"]
    assert precision.fastest_that_agrees(error_of({"bf16": 0.3, "tf32": 0.3}), points).mode == "float32"


def test_a_cpu_computes_in_float32_unless_asked():
    points = torch.randn(2, 4)
    assert precision.choose("auto", lambda p: p, points) == precision.Choice("float32")
    assert precision.choose("bf16", lambda p: p, points).mode == "bf16"
    with pytest.raises(UserError, match="tf32 is a mode of CUDA GPUs"):
        precision.choose("tf32", lambda p: p, points)
    with pytest.raises(UserError, match="one of auto, float32, tf32, bf16"):
        precision.choose("fp8", lambda p: p, points)


def test_passes_compute_in_the_mode_that_was_asked_for_and_say_so():
    a, b = matrices()
    seen: list[str] = []

    def cost(points: Tensor, _rows: Tensor) -> Tensor:
        seen.append(precision.current())
        return precision.product(points, b[:, 0]).flatten(1).sum(1)

    passes = Passes(torch.device("cpu"), 4, "bf16")
    costs, _ = passes.evaluate(cost, a[:, 0], torch.arange(2))
    assert set(seen) == {"bf16"}
    assert precision.current() == "float32"
    torch.testing.assert_close(costs, (rounded(a[:, 0]) @ rounded(b[:, 0])).flatten(1).sum(1))
    assert passes.record()["precision"] == "bf16"


def test_a_worker_computes_all_else_in_float32():
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        precision.exact_by_default()
        assert [flag.allow_tf32 for flag in flags] == [False, False]
        assert torch.backends.cudnn.conv.fp32_precision != "tf32"
        assert torch._C._get_cudnn_allow_tf32() is False  # raises where torch's two kinds of switches were mixed
        with precision.using("tf32"):
            assert [flag.allow_tf32 for flag in flags] == [True, True]
            assert torch.backends.cudnn.conv.fp32_precision == "tf32"
            assert torch._C._get_cudnn_allow_tf32() is True
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value
