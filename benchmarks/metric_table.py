"""How long the whole table of one run takes: the part of `python -m benchmarks.metrics` behind --whole-table."""

import time

import numpy as np
import torch

from core.metrics.registry import default_metrics
from core.metrics.scoring import score_pairs
from core.settings import load_settings
from tests.metrics.pairs import two_hundred

COUNT = 600  # reconstructions of a run of the published study


def whole_table(threads: int, device: str) -> None:
    """Score 600 pairs at 32 px with every metric that can be had, and say how long each and all of them took."""
    torch.set_num_threads(threads)
    settings = load_settings()
    names = default_metrics(settings)
    rows = np.arange(COUNT) % 200
    originals, reconstructions = (images[rows] for images in two_hundred())
    print("| metric | seconds, alone | scored |\n| --- | ---: | ---: |")
    for name in names:
        began = time.perf_counter()
        scores = score_pairs(originals, reconstructions, [name], settings, device=device)[name]
        seconds = time.perf_counter() - began
        print(f"| {name} | {seconds:.2f} | {sum(score.value is not None for score in scores)} |", flush=True)
    began = time.perf_counter()
    score_pairs(originals, reconstructions, names, settings, device=device)
    print(f"\nThe whole table of {COUNT} reconstructions, {len(names)} metrics: {time.perf_counter() - began:.1f} s.")
