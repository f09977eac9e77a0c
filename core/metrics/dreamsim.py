"""DreamSim: Fu et al., DreamSim: Learning New Dimensions of Human Visual Similarity, NeurIPS 2023; the ensemble.

The optional package dreamsim (MIT) builds the networks from files under SEMSIGHT_WEIGHTS/dreamsim. By itself it would
download them, and would run code from a repository of torch.hub for its DINO; here it can do neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.metrics.base import Context, Metric
from core.models.weights import file_sha256
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    import torch

SIZE = 224  # pixels: what its networks take
FOLDER = "dreamsim"  # under SEMSIGHT_WEIGHTS
ARCHIVE = (
    "https://github.com/ssundaram21/dreamsim/releases/download/v0.2.0-checkpoints/dreamsim_ensemble_checkpoint.zip"
)
DINO = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
DINO_FILE = "checkpoints/dino_vitbase16_pretrain.pth"  # where torch.hub would put it
ADAPTER = "ensemble_lora/adapter_model.safetensors"
FILES = (
    "dino_vitb16_pretrain.pth",
    "clip_vitb16_pretrain.pth.tar",
    "open_clip_vitb16_pretrain.pth.tar",
    "ensemble_lora/adapter_config.json",
    ADAPTER,
    DINO_FILE,
)
_HUB = threading.Lock()


def distance(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """DreamSim (N,) of (N, 3, H, W) images in [0, 1], in [0, 2]: 0 for identical images, lower is more alike.

    1 - cosine of the embeddings, as half the squared distance of the unit vectors. Both images are first resized to
    224 × 224 (bicubic, antialiased, cut off at 0 and 1), as the package's own preprocessing does. UserError if files or
    package are missing or do not fit.
    """
    import torch

    settings = context.settings if context is not None and context.settings is not None else load_settings()
    model = _load(settings.weights / FOLDER, files_sha256(settings), str(originals.device))

    def embedding(images: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.interpolate(images.float(), (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)
        return torch.nn.functional.normalize(model.embed(x), dim=-1)

    return (embedding(originals) - embedding(reconstructions)).square().sum(-1) / 2


def files_sha256(settings: Settings) -> str:
    """sha256 over those of all files that it is built from; UserError says what is missing and how to get it."""
    folder = settings.weights / FOLDER
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"DreamSim: {', '.join(missing)} missing under SEMSIGHT_WEIGHTS/{FOLDER}; unpack {ARCHIVE} there and save "
            f"{DINO} as {DINO_FILE} (no checksums are published, so SemSight does not download them)."
        )
    return hashlib.sha256("\n".join(file_sha256(folder / name) for name in FILES).encode()).hexdigest()


@lru_cache(maxsize=2)
def _load(folder: Path, sha256: str, device: str) -> Any:
    try:
        from dreamsim import dreamsim
    except ImportError as error:
        raise UserError(
            f"The package dreamsim cannot be imported ({error}); pip install dreamsim brings it."
        ) from error
    from safetensors import SafetensorError

    try:
        with _offline(folder), _quietly():
            model, _ = dreamsim(
                pretrained=True, device=device, cache_dir=str(folder), normalize_embeds=True, dreamsim_type="ensemble"
            )
        _check_adapter(model, folder / ADAPTER)
    except (KeyError, AttributeError, TypeError, ValueError, OSError, RuntimeError, EOFError) as error:
        raise UserError(_unfit(error)) from error
    except (pickle.UnpicklingError, SafetensorError) as error:
        raise UserError(_unfit(error)) from error
    return model.eval().requires_grad_(False)


def _unfit(error: Exception) -> str:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return f"The files under SEMSIGHT_WEIGHTS/{FOLDER} are not DreamSim's ensemble ({reason}); get them again."


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Its progress is no output of ours; the numbers that it draws before it loads must not move anyone's seed.

    What torch deprecates in it, and that peft sees its adapter twice, is nothing that a user of ours can mend.
    """
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _offline(folder: Path) -> Iterator[None]:
    """While the package builds its networks torch.hub reads DINO from `folder`, and fetches and runs nothing."""
    import torch.hub

    def load(repository: str, model: str, *args: Any, **kwargs: Any) -> Any:
        from dreamsim.feature_extraction.vision_transformer import vit_base

        if model != "dino_vitb16":
            raise UserError(f"DreamSim asks torch.hub for {model}, which SemSight does not fetch.")
        network = vit_base(patch_size=16)  # the package's copy of DINO's class, which torch.hub would fetch
        network.load_state_dict(torch.load(folder / DINO_FILE, map_location="cpu", weights_only=True), strict=True)
        return network

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise UserError("DreamSim wants to download a file; SemSight does not let it.")

    replaced: dict[str, Callable[..., Any]] = {
        "load": load,
        "download_url_to_file": refuse,
        "set_dir": lambda folder: None,
    }
    with _HUB:
        kept = {name: getattr(torch.hub, name) for name in replaced}
        try:
            for name, function in replaced.items():
                setattr(torch.hub, name, function)
            yield
        finally:
            for name, function in kept.items():
                setattr(torch.hub, name, function)


def _check_adapter(model: Any, path: Path) -> None:
    """Every trained number of the file is in the model and none is left as drawn: peft itself would only warn."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    state = {key.replace(".default.", "."): value for key, value in model.state_dict().items() if "lora_" in key}
    if state.keys() != tensors.keys() or not all(torch.equal(state[key].cpu(), tensors[key]) for key in tensors):
        raise ValueError(f"{path.name} does not fit the networks")


METRICS = (
    Metric(
        name="dreamsim",
        title=f"DreamSim (ensemble), resized to {SIZE} px",
        direction="lower",
        bounds=(0.0, 2.0),
        unit="",
        kind="pair",
        minimum_size=1,
        needs=(),
        input_size=SIZE,
        version="1",
        source="Fu et al. 2023, package dreamsim (MIT): DINO, CLIP and OpenCLIP ViT-B/16, tuned on people's judgements "
        f"of likeness; both images resized to {SIZE} × {SIZE} px, bicubic with antialiasing",
        compute=distance,
        sees="Three networks, tuned on which of two pictures people called more alike, compare layout, pose, colour "
        "and what is shown.",
        misses="Those people judged clean generated pictures, never reconstructions full of noise, and were not asked "
        "whom they recognise.",
        library="dreamsim",
        packages=("dreamsim",),
        files=files_sha256,
    ),
)
