"""The part of the weights intake that needs torch: runs in the child process, on what the header was found to be."""

import math
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import save_file

from core.errors import UserError
from core.models.build import build_model, build_skeleton
from core.models.intake_records import Entry, Expected, Header
from core.models.spec import ModelSpec
from core.names import safe_text

DTYPES = {
    "F32": torch.float32,
    "F64": torch.float64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
IMAGES = 2  # of the dry forward


def expected_tensors(spec: ModelSpec) -> tuple[dict[str, Expected], set[str]]:
    """Names, shapes and dtypes of the architecture's state dict, from the meta device; and which are parameters."""
    skeleton = build_skeleton(spec)
    state = {key: Expected(CODES[t.dtype], tuple(t.shape)) for key, t in skeleton.state_dict().items()}
    return state, {name for name, _ in skeleton.named_parameters(remove_duplicate=False)}


def read_tensors(file: BinaryIO, header: Header, name: str) -> dict[str, torch.Tensor]:
    """Dense CPU tensors in float32 or int64; raise UserError for a number that is not finite."""
    return {entry.name: _read(file, entry, name) for entry in header.entries}


def _read(file: BinaryIO, entry: Entry, name: str) -> torch.Tensor:
    file.seek(entry.start)
    raw = bytearray(file.read(entry.size))
    if len(raw) != entry.size:
        raise UserError(f"{name} became shorter while it was read; upload it again.")
    stored = torch.frombuffer(raw, dtype=DTYPES[entry.dtype]).as_strided(entry.shape, entry.strides)
    if entry.dtype == "I64":
        return stored.contiguous().clone()
    tensor = stored.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        kinds = "NaN" if bool(torch.isnan(tensor).any()) else "infinite"
        raise UserError(
            f"{name} holds {bad:,} of {entry.numbers:,} numbers that are not finite ({kinds}) in "
            f"{safe_text(entry.name)!r}; the training diverged or the file is damaged: use an earlier checkpoint."
        )
    return tensor.contiguous()


def dry_forward(spec: ModelSpec, tensors: dict[str, torch.Tensor], name: str) -> str:
    """Load strictly, show the model two seeded noise images in eval mode, and say in words what came out."""
    model = build_model(spec, tensors).eval()
    images = torch.rand((IMAGES, spec.channels, spec.height, spec.width), generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (spec.mean, spec.std))
    with torch.inference_mode():
        logits = model((images - mean) / std)
    if tuple(logits.shape) != (IMAGES, spec.num_classes):
        raise UserError(
            f"{name} answers {IMAGES} images with {tuple(logits.shape)} numbers, where ({IMAGES}, {spec.num_classes}) "
            "are expected; choose the architecture that the file was made with."
        )
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            f"{name} answers a test image with numbers that are not finite, though its weights are; "
            "its BatchNorm statistics or scales are broken: use an earlier checkpoint."
        )
    low, high = float(logits.min()), float(logits.max())
    return (
        f"{IMAGES} noise images of {spec.channels}×{spec.height}×{spec.width} gave {IMAGES}×{spec.num_classes} logits "
        f"from {_short(low)} to {_short(high)}."
    )


def write_plain(tensors: dict[str, torch.Tensor], target: Path) -> None:
    """Plain safetensors: names, shapes, numbers, no metadata."""
    save_file(tensors, str(target))


def _short(value: float) -> str:
    digits = 3 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(digits, 6)}f}"
