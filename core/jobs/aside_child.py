"""The process that computes for pages: questions on standard input, answers on standard output, one after the other.

    python -m core.jobs.aside_child

Messages are 8 bytes of length, then bytes of core.jobs.packing. It ends when its input closes, whatever it computes.
torch is imported with the first question that needs it.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from core.errors import UserError
from core.jobs.packing import pack, unpack
from core.metrics.base import Context
from core.metrics.lpips import BACKBONES, spatial_map
from core.metrics.registry import METRICS, unavailable
from core.metrics.scoring import MOST_NETWORK_PIXELS, score_pairs
from core.settings import Settings
from core.storage.artifacts import decode_png

PATHS = ("home", "weights", "datasets", "torch_cache")  # of Settings


def main() -> None:
    """Answer until the input closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    os.nice(5)
    questions: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(0, "rb", closefd=False), questions), daemon=True).start()
    while True:
        data = answer(questions.get())
        try:
            answers.write(struct.pack(">Q", len(data)) + data)
            answers.flush()
        except BrokenPipeError:
            os._exit(0)


def _listen(source: BinaryIO, questions: SimpleQueue[bytes]) -> None:
    while len(head := source.read(8)) == 8:
        questions.put(source.read(struct.unpack(">Q", head)[0]))
    os._exit(0)  # the app has ended or wants no more: not even what is being computed


def answer(data: bytes) -> bytes:
    """The answer to one question; {"problem": sentence} where there is none."""
    try:
        header, arrays = unpack(data)
        settings = _settings(header["settings"])
        return _map(header, arrays, settings) if header["what"] == "map" else _scores(header, arrays, settings)
    except UserError as error:
        return pack({"problem": str(error)}, {})
    except MemoryError:
        return pack({"problem": "There is not enough memory for it; close something and reload the page."}, {})
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, OSError, ImportError) as error:
        return pack({"problem": f"It could not be computed ({type(error).__name__}: {error})"[:300]}, {})


def _settings(values: dict[str, Any]) -> Settings:
    paths: dict[str, Any] = {name: Path(values[name]) for name in PATHS if values[name] is not None}
    return Settings(**{**values, **paths, "folders": tuple(Path(folder) for folder in values["folders"])})


def _map(header: dict[str, Any], arrays: dict[str, np.ndarray], settings: Settings) -> bytes:
    metric = METRICS[header["metric"]]
    original, reconstruction = (_picture(arrays[name].tobytes(), name) for name in ("original", "reconstruction"))
    if original.shape != reconstruction.shape:
        sizes = " and ".join(f"{one.shape[1]}×{one.shape[0]}" for one in (original, reconstruction))
        raise UserError(f"A map needs two pictures of one size, not {sizes} pixels.")
    height, width = original.shape[:2]
    if min(height, width) < metric.minimum_size:
        raise UserError(f"LPIPS needs at least {metric.minimum_size} px, got {min(height, width)}.")
    if height * width > MOST_NETWORK_PIXELS:
        raise UserError(f"A map is made of at most {MOST_NETWORK_PIXELS:,} pixels, got {height * width:,}.")
    reason = unavailable(metric, settings)
    if reason:
        raise UserError(reason)
    import torch

    torch.set_num_threads(settings.threads)
    x, y = (torch.from_numpy(np.array(one)).permute(2, 0, 1)[None].float() / 255 for one in (original, reconstruction))
    with torch.inference_mode():
        found = spatial_map(x, y, Context(settings=settings), backbone=BACKBONES[0])
    return pack({}, {"map": found[0].numpy()})


def _picture(png: bytes, name: str) -> np.ndarray:
    try:
        return decode_png(png)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"The {name} is no PNG that can be read.") from None


def _scores(header: dict[str, Any], arrays: dict[str, np.ndarray], settings: Settings) -> bytes:
    import torch

    torch.set_num_threads(settings.threads)
    context = Context(classes=tuple(header["classes"]), names=tuple(header["originals"]))
    sides = [[arrays[f"{side}{i}"] for i in range(len(header["classes"]))] for side in "or"]
    found = score_pairs(sides[0], sides[1], header["names"], settings, context=context, failed=_failed)
    rows = {name: [[score.value, score.reason] for score in scores] for name, scores in found.items()}
    return pack({"scores": rows}, {})


def _failed(metric: str, error: Exception) -> str:
    """The reason of one metric that failed, so that the others keep their scores."""
    if isinstance(error, MemoryError):
        raise error
    return f"it could not be computed ({type(error).__name__}: {error})"[:300]


if __name__ == "__main__":
    main()
