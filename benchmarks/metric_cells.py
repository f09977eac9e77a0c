"""One library's side of `python -m benchmarks.metrics`: a process that scores when asked, a line of JSON each way."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.metric_peers import PEERS
from core.metrics.scoring import score_pairs
from core.settings import load_settings
from tests.metrics.pairs import real_pairs

OURS = "SemSight"
DISTINCT = 200  # different pairs; the rest of the pool repeats them
POOL = 1 << 26  # bytes of originals that lie ready: more pairs than these go round again
BUDGETS = (1 << 16, 1 << 18, 1 << 20)  # pixels a batch that a peer is tried with


def shared(library: str, metric: str) -> bool:
    """Whether the library has this metric too."""
    return library in PEERS and metric in PEERS[library]


@cache
def pool(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Originals and reconstructions, each (N, size, size, 3) uint8 in POOL bytes."""
    count = max(1, POOL // (3 * size**2))
    rows = np.arange(count) % DISTINCT
    originals, reconstructions = real_pairs(size, min(count, DISTINCT))
    return originals[rows], reconstructions[rows]


def scorer(library: str, metric: str, device: str) -> Callable[[np.ndarray, np.ndarray, int], list[Any]]:
    """A function of 8-bit originals and reconstructions, and of the pixels a batch, that gives all scores."""
    if library == OURS:
        settings = load_settings()
        return lambda x, y, budget: score_pairs(x, y, [metric], settings, device=device)[metric]
    compute = PEERS[library][metric](device)

    def peer(x: np.ndarray, y: np.ndarray, budget: int) -> list[Any]:
        step = max(1, budget // (x.shape[1] * x.shape[2]))
        scores: list[Any] = []
        with torch.inference_mode():
            for first in range(0, len(x), step):
                pair = [
                    torch.from_numpy(images[first : first + step]).to(device).permute(0, 3, 1, 2).float() / 255
                    for images in (x, y)
                ]
                scores += compute(*pair).reshape(-1).tolist()
        return scores

    return peer


def run(score: Callable[[np.ndarray, np.ndarray, int], list[Any]], size: int, pairs: int, budget: int) -> float:
    """Seconds for so many pairs, the pool over and over."""
    originals, reconstructions = pool(size)
    left, done = pairs, 0
    began = time.perf_counter()
    while left:
        taken = min(left, len(originals))
        done += len(score(originals[:taken], reconstructions[:taken], budget))
        left -= taken
    seconds = time.perf_counter() - began
    if done != pairs:
        raise RuntimeError(f"{done} scores for {pairs} pairs")
    return seconds


def warm(score: Callable[[np.ndarray, np.ndarray, int], list[Any]], size: int, budgets: tuple[int, ...]) -> Any:
    """The quickest number of pixels a batch, and pairs a second with it."""
    paces = {}
    for budget in budgets:
        pairs = max(2, budget // size**2)
        run(score, size, pairs, budget)  # the first call allocates, and finds its kernels
        paces[budget] = pairs / statistics.median(run(score, size, pairs, budget) for _ in range(3))
    best = max(paces, key=lambda budget: paces[budget])
    return best, paces[best]


def held(device: str, *, peak: bool) -> int:
    """Bytes that this process holds, or held at most since `forget`."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(row for row in status.splitlines() if row.startswith("VmHWM" if peak else "VmRSS"))
    return int(line.split()[1]) * 1024


def forget(device: str) -> None:
    """Begin to count the peak anew."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: VmHWM starts from VmRSS again


def main() -> None:
    """Answer until the questions end."""
    library, device, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    scorers: dict[str, Any] = {}
    budgets: dict[tuple[str, int], int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        metric, size = asked["metric"], asked["size"]
        try:
            if metric not in scorers:
                scorers.clear()  # one network at a time
                scorers[metric] = scorer(library, metric, device)
            if asked["what"] == "warm":
                tried = BUDGETS if library != OURS else (1 << 19,)
                budgets[metric, size], pace = warm(scorers[metric], size, tried)
                answer = {"pace": pace}
            else:
                forget(device)
                before = held(device, peak=False)
                seconds = run(scorers[metric], size, asked["pairs"], budgets[metric, size])
                answer = {"seconds": seconds, "peak": max(0, held(device, peak=True) - before)}
        except (RuntimeError, ValueError, ImportError, OSError) as error:  # said in the table, and the next one goes on
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
