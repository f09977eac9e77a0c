"""The metrics of piq and torchmetrics that SemSight has too, one score a pair, at the weights that SemSight uses."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from core.metrics.lpips import linear_file
from core.models.weights import WEIGHTS, FoundWeights, find_weights
from core.settings import load_settings

BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
Compute = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def lend_weights(folder: Path) -> None:
    """Fill a folder with the weights that are found here, and with seeded ones of their shapes where none are."""
    from safetensors.torch import save_file

    settings = load_settings()
    generator = torch.Generator().manual_seed(0)
    for name, described in WEIGHTS.items():
        found = find_weights(name, settings)
        target = folder / f"{name}.safetensors"
        if isinstance(found, FoundWeights):
            target.symlink_to(Path(found.path).resolve())
        elif name.endswith("-imagenet-features"):
            tensors = {}
            for key, shape in described.shapes.items():
                fan_in = torch.tensor(shape[1:]).prod().clamp(min=1) if len(shape) > 1 else torch.tensor(800)
                tensors[key] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
            save_file(tensors, target)


def backbone(net: str) -> torch.nn.Module:
    """torchvision's layers with our file's weights."""
    import torchvision
    from safetensors.torch import load_file

    name = BACKBONES[net]
    found = find_weights(f"{name}-imagenet-features", load_settings())
    if not isinstance(found, FoundWeights):
        raise ValueError(found.reason)
    with torch.device("meta"):
        features = getattr(torchvision.models, name)(weights=None).features
    tensors = load_file(found.path)
    features.load_state_dict({key.removeprefix("features."): value for key, value in tensors.items()}, assign=True)
    return features


def torchmetrics_lpips(device: str, net: str) -> Compute:
    """torchmetrics' network, its linear weights, our backbone."""
    from torchmetrics.functional.image import lpips

    with patch.object(lpips, "_get_tv_model_features", lambda *_args, **_more: backbone(net)):
        network = lpips._NoTrainLpips(net=net).to(device)
    return lambda x, y: network(x, y, normalize=True)


def torchmetrics_dists(device: str) -> Compute:
    """torchmetrics' network, its own weights of the comparison, our backbone."""
    from torchmetrics.functional.image import dists

    with patch.object(dists, "vgg16", lambda **_more: SimpleNamespace(features=backbone("vgg"))):
        network = dists.DISTSNetwork().to(device)
    return lambda x, y: network(x, y)


def piq_lpips(device: str) -> Compute:
    """piq's network (it has VGG16 only), lpips's linear weights, our backbone."""
    import piq
    from piq import perceptual

    table = torch.load(linear_file("vgg"), weights_only=True)
    linear = [table[f"lin{i}.model.1.weight"] for i in range(5)]
    with (
        patch.object(perceptual, "vgg16", lambda **_more: SimpleNamespace(features=backbone("vgg"))),
        patch.object(torch.hub, "load_state_dict_from_url", lambda *_args, **_more: linear),
    ):
        network = piq.LPIPS(reduction="none").to(device)
    return lambda x, y: network(x, y)


def torchmetrics_simple(device: str, name: str) -> Compute:
    """torchmetrics' function of this name, one score a pair."""
    from torchmetrics import functional
    from torchmetrics.functional import image

    def flat(function: Callable[..., torch.Tensor]) -> Compute:
        return lambda x, y: function(x.flatten(1).T, y.flatten(1).T, num_outputs=len(x))

    each: dict[str, Any] = {"data_range": 1.0, "reduction": "none"}
    return {
        "mse": flat(functional.mean_squared_error),
        "mae": flat(functional.mean_absolute_error),
        "psnr": partial(image.peak_signal_noise_ratio, **each, dim=(1, 2, 3)),
        "ssim": partial(image.structural_similarity_index_measure, **each),
        "ssim_uniform": partial(
            image.structural_similarity_index_measure, **each, gaussian_kernel=False, kernel_size=7
        ),
        "ms_ssim": partial(image.multiscale_structural_similarity_index_measure, **each),
    }[name]


def piq_simple(device: str, name: str) -> Compute:
    """piq's function of this name, one score a pair."""
    import piq

    return {
        "psnr": partial(piq.psnr, reduction="none"),
        "ssim": partial(piq.ssim, downsample=False, reduction="none"),  # else it compares smaller pictures from 384 px
        "ms_ssim": partial(piq.multi_scale_ssim, reduction="none"),
        "gmsd": partial(piq.gmsd, reduction="none"),
        "haarpsi": partial(piq.haarpsi, reduction="none"),
    }[name]


PEERS: dict[str, dict[str, Callable[[str], Compute]]] = {
    "torchmetrics": {
        **{n: partial(torchmetrics_simple, name=n) for n in ("mse", "mae", "psnr", "ssim", "ssim_uniform", "ms_ssim")},
        **{f"lpips_{net}": partial(torchmetrics_lpips, net=net) for net in BACKBONES},
        "dists": torchmetrics_dists,
    },
    "piq": {
        **{name: partial(piq_simple, name=name) for name in ("psnr", "ssim", "ms_ssim", "gmsd", "haarpsi")},
        "lpips_vgg": piq_lpips,
    },
}
