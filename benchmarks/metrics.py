"""Speed and memory of the pair metrics beside piq and torchmetrics, on the device here: `python -m benchmarks.metrics`.

    python -m benchmarks.metrics --sizes 32 64 224 --pairs 10000 --threads 2
    python -m benchmarks.metrics --device cuda --metrics ssim lpips_alex
    python -m benchmarks.metrics --whole-table            600 reconstructions at 32 px, all metrics that can be had here

Everybody starts from the same 8-bit arrays of real photographs and their damaged copies and ends with one number a pair
in Python. SemSight scores by `score_pairs`; a peer gets float32 batches, as its users would give it, of the size it
was quickest with of three. Each library is a process of its own, and they are timed in turn, --repeats times; the
median counts. Where --pairs of them would take longer than --seconds by the slowest library's pace, all are timed on
fewer, and the table says on how many. Memory is the peak of the whole process while it scored, torch itself and the
arrays included (on a GPU, what torch allocated there). LPIPS has the weights that are found here, else seeded ones of
the same shapes: what they are does not change the time. With --threads 1 on a CPU seconds are those that the process
itself computed, which depend less on what else the machine is doing. A ratio above 1: faster than the fastest peer.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.attacks import processor
from benchmarks.metric_cells import OURS, shared
from benchmarks.metric_peers import PEERS, lend_weights
from benchmarks.metric_table import whole_table
from core.metrics.registry import METRICS, unavailable
from core.settings import load_settings

PROJECT = Path(__file__).resolve().parents[1]
MIB = 2**20


class Library:
    """A process that scores with one library, and answers one question at a time."""

    def __init__(self, name: str, options: argparse.Namespace, weights: str) -> None:
        environment = {**os.environ, "SEMSIGHT_WEIGHTS": weights, "OMP_NUM_THREADS": str(options.threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.metric_cells", name, options.device, str(options.threads)],
            cwd=PROJECT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, **what: Any) -> dict[str, Any]:
        """The answer; {"error": …} if the metric failed or the process died of it."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def end(self) -> None:
        """Let the process go."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Print the table, and where we are slower."""
    options = parse()
    hardware = torch.cuda.get_device_name() if options.device.startswith("cuda") else processor()
    print(f"{datetime.date.today()}, {hardware}, {options.threads} threads, torch {torch.__version__}, ", end="")
    print(f"load before the start {os.getloadavg()[0]:.1f}\n", flush=True)
    if options.whole_table:
        whole_table(options.threads, options.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        lend_weights(Path(folder))
        settings = load_settings({**os.environ, "SEMSIGHT_WEIGHTS": folder})
        libraries = {name: Library(name, options, folder) for name in (OURS, *PEERS)}
        head = ["metric", "px", "pairs", *(f"{name}, pairs / s" for name in libraries), "ratio"]
        print(f"| {' | '.join([*head, 'peak MiB ' + ' / '.join(libraries)])} |")
        print(f"| --- |{' ---: |' * len(head)}", flush=True)
        slower = []
        for name in options.metrics:
            reason = unavailable(METRICS[name], settings)
            if reason:
                print(f"| {name} | not timed: {reason} |")
                continue
            slower += [f"{name} at {size} px" for size in options.sizes if row(name, size, libraries, options)]
        for library in libraries.values():
            library.end()
    print("\nSlower than the faster peer: " + (", ".join(slower) or "nowhere") + ".")


def row(name: str, size: int, libraries: dict[str, Library], options: argparse.Namespace) -> bool:
    """Print one line of the table; whether a peer is faster than SemSight."""
    resized = METRICS[name].input_size
    if METRICS[name].minimum_size > size or (resized and size != min(options.sizes)):
        return False  # what is resized takes as long at every size
    those = {key: library for key, library in libraries.items() if key == OURS or shared(key, name)}
    paces = {key: library.ask(what="warm", metric=name, size=size) for key, library in those.items()}
    failed = {key: answer["error"] for key, answer in paces.items() if "error" in answer}
    slowest = min((answer["pace"] for answer in paces.values() if "pace" in answer), default=1.0)
    pairs = max(8, min(options.pairs, int(slowest * options.seconds)))
    rates: dict[str, list[float]] = {key: [] for key in those if key not in failed}
    peaks: dict[str, float] = {}
    for _ in range(options.repeats):
        for key in rates:
            answer = those[key].ask(what="time", metric=name, size=size, pairs=pairs)
            rates[key].append(pairs / answer["seconds"])
            peaks[key] = max(peaks.get(key, 0.0), answer["peak"])
    middle = {key: statistics.median(values) for key, values in rates.items()}
    best = max((rate for key, rate in middle.items() if key != OURS), default=None)
    ratio = middle[OURS] / best if best and OURS in middle else None
    said = [f"{middle[k]:,.0f}" if k in middle else failed.get(k, "–").replace("|", "/")[:80] for k in libraries]
    memory = " / ".join(f"{peaks[key] / MIB:,.0f}" if key in peaks else "–" for key in libraries)
    said = [name, str(size), f"{pairs:,}", *said, f"{ratio:.2f}" if ratio else "–", memory]
    print(f"| {' | '.join(said)} |", flush=True)
    return ratio is not None and ratio < 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.metrics", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pair_metrics = [name for name, metric in METRICS.items() if metric.kind == "pair" and not metric.diagnostic]
    parser.add_argument("--metrics", nargs="+", default=pair_metrics, choices=pair_metrics, metavar="NAME")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 224], metavar="PX")
    parser.add_argument("--pairs", type=int, default=10_000, help="pairs a measurement (default: 10000)")
    parser.add_argument("--seconds", type=float, default=600.0, help="most of one measurement (default: 600)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each library (default: 3)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--whole-table", action="store_true", help="time all metrics of 600 reconstructions instead")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
