"""Distances between the image embeddings of vision transformers: DINO (Caron 2021) and CLIP (Radford 2021).

The networks are those of the optional package timm, their weights are found by core.models.weights. Nothing is
downloaded here and nothing is random: without package or weights the metric is unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.models.weights import FoundWeights, MissingWeights, find_weights
from core.settings import load_settings

if TYPE_CHECKING:
    import torch

SIZE = 224  # pixels: what both networks were trained on


@dataclass(frozen=True)
class Encoder:
    """A network that turns an image into one vector."""

    name: str
    title: str
    model: str  # timm's
    weights: str  # name for core.models.weights
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    source: str
    sees: str
    misses: str


ENCODERS = (
    Encoder(
        name="dino_vits16",
        title="DINO ViT-S/16",
        model="vit_small_patch16_224.dino",
        weights="dino-vits16",
        mean=(0.485, 0.456, 0.406),  # ImageNet
        std=(0.229, 0.224, 0.225),
        source="Caron et al. 2021, class token after the last norm",
        sees="It compares what a network that learned from photographs without labels makes of each: parts, layout and "
        "look of the main object.",
        misses="Fine detail and exact position count little, and a blurred picture can look like many others to it.",
    ),
    Encoder(
        name="clip_vitb32",
        title="CLIP ViT-B/32",
        # OpenAI trained with QuickGELU; timm's name without it computes something else with the same weights
        model="vit_base_patch32_clip_quickgelu_224.openai",
        weights="clip-vitb32",
        mean=(0.48145466, 0.4578275, 0.40821073),  # of OpenAI's preprocessing
        std=(0.26862954, 0.26130258, 0.27577711),
        source="Radford et al. 2021, image embedding after the projection",
        sees="It compares what a caption would say of each: the kind of thing, the scene, sometimes the person.",
        misses="Two different pictures of one kind of thing are close, so a low distance need not mean that this "
        "picture came through.",
    ),
)


def distance(
    originals: torch.Tensor,
    reconstructions: torch.Tensor,
    context: Context | None = None,
    *,
    encoder: Encoder,
) -> torch.Tensor:
    """(N,) 1 - cosine of the embeddings of (N, 3, H, W) images in [0, 1], in [0, 2]: lower is more alike.

    Computed as half the squared distance of the unit vectors, which is the same and 0 for identical images. Both images
    are first resized to 224 × 224. UserError if weights or package are missing.
    """
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    found = find_weights(encoder.weights, settings)
    if isinstance(found, MissingWeights):
        raise UserError(found.reason)
    model = _load(encoder, found, str(originals.device))
    u, v = (
        torch.nn.functional.normalize(model(prepared(images, encoder)), dim=1)
        for images in (originals, reconstructions)
    )
    return (u - v).square().sum(1) / 2


def prepared(images: torch.Tensor, encoder: Encoder) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 3, 224, 224): bicubic with antialiasing, cut off at 0 and 1, normalised.

    As published, but the whole image is squeezed in, where the networks' own evaluations cut its middle out.
    """
    import torch

    x = torch.nn.functional.interpolate(images.float(), (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(row, device=images.device).reshape(1, 3, 1, 1) for row in (encoder.mean, encoder.std))
    return (x - mean) / std


@lru_cache(maxsize=4)
def _load(encoder: Encoder, found: FoundWeights, device: str) -> torch.nn.Module:
    try:
        import timm
    except ImportError as error:
        raise UserError("The package timm is not installed; pip install timm brings it.") from error
    import torch
    from safetensors.torch import load_file

    with torch.device("meta"):  # nothing is drawn: the global random state stays as it is
        model: torch.nn.Module = timm.create_model(encoder.model, pretrained=False)
    model.load_state_dict(load_file(found.path), strict=True, assign=True)
    return model.eval().requires_grad_(False).to(device)


METRICS = tuple(
    Metric(
        name=f"{encoder.name}_{SIZE}",
        title=f"{encoder.title} feature distance, resized to {SIZE} px",
        direction="lower",
        bounds=(0.0, 2.0),
        unit="",
        kind="pair",
        minimum_size=1,
        needs=(encoder.weights,),
        input_size=SIZE,
        version="1",
        source=f"{encoder.source}, 1 - cosine; both images resized to {SIZE} × {SIZE} px, bicubic with antialiasing, "
        "normalised as published",
        compute=partial(distance, encoder=encoder),
        sees=encoder.sees,
        misses=encoder.misses,
        library="timm",
        packages=("timm",),
    )
    for encoder in ENCODERS
)
