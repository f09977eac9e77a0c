"""Speed, memory and quality of the attack engine, against peers, on the device at hand: `python -m benchmarks.attacks`.

    python -m benchmarks.attacks --models lenet convnet --sizes 32 --images 1 8 --breaching-python PYTHON
    python -m benchmarks.attacks --device cuda --classes 100          all models, sizes and counts

An image-step is one step of Inverting Gradients (forward, gradient, cost, double backward, Adam) on one image. Every
cell runs in a process of its own. A cell that would take too long or that did not fit is printed as such. PSNR is the
median over the images after --steps steps from N(0, 1) starts: it compares forms at equal steps, and says nothing of a
full attack. "Per CPU second" counts what the process computed instead of the clock: on a busy machine, with one thread,
it is nearer to what an idle one gives.
--breaching-python names a Python that has torch, this project's requirements and `breaching`;
--invertinggradients names a checkout of github.com/JonasGeiping/invertinggradients.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PROJECT = Path(__file__).resolve().parents[1]
PEER_IMAGES = 2  # a peer takes one image after another, each as long as the first
GIB = 2**30


def main() -> None:
    """Print the tables."""
    options = parse()
    hardware = torch.cuda.get_device_name() if options.device.startswith("cuda") else processor()
    print(f"{datetime.date.today()}, {hardware}, {options.threads} threads, torch {torch.__version__}, ", end="")
    print(f"load before the start {os.getloadavg()[0]:.1f}\n")
    peak = child(options, what="matmul")
    best = max(peak.values()) if "error" not in peak else float("nan")
    print("Matrix product: " + ", ".join(f"{mode} {value / 1e9:,.0f} GFLOP/s" for mode, value in peak.items()) + "\n")
    head = ("model", "size", "images", "image-steps / s", "per CPU second", "peak GiB")
    print(f"| {' | '.join(head)} | PSNR after {options.steps} steps | engine |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |", flush=True)
    costs = []
    for model in options.models:
        for size in options.sizes:
            rates = cells(options, model, size)
            costs.append((model, size, child(options, what="flops", model=model, size=size), rates))
    print("\n| model | size | parameters | GFLOP an image-step | best ms an image-step | share of the matrix product |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for model, size, cost, rates in costs:
        if "error" in cost or not rates:
            print(f"| {model} | {size} | {said(cost) if 'error' in cost else 'no cell was run'} | | | |")
            continue
        rate = max(rates)
        figures = f"{cost['parameters']:,} | {cost['flops'] / 1e9:.2f} | {1000 / rate:.2f}"
        print(f"| {model} | {size} | {figures} | {rate * cost['flops'] / best:.0%} |")


def cells(options: argparse.Namespace, model: str, size: int) -> list[float]:
    """Print the rows of one model and size; our rates."""
    rates: list[float] = []
    for images in options.images:
        about = f"| {model} | {size} | {images}"
        left = images * (options.steps + 3) / rates[-1] if rates else 0.0
        if left > options.limit:
            print(f"{about} | not run: about {left:.0f} s at the rate above | | | | SemSight |", flush=True)
            continue
        found = child(options, what="ours", model=model, size=size, images=images)
        print(f"{about} | {row(found)} | SemSight{form(found)} |", flush=True)
        if "rate" in found:
            rates.append(found["rate" if options.device.startswith("cuda") or options.threads > 1 else "work_rate"])
    for peer in peers(options):
        found = child(options, peer=peer, model=model, size=size, images=PEER_IMAGES)
        print(f"| {model} | {size} | 1, {PEER_IMAGES} in turn | {row(found)} | {peer} |", flush=True)
    return rates


def child(options: argparse.Namespace, *, peer: str = "", **asked: Any) -> dict[str, Any]:
    """What the process of one cell answers, or {"error": why there is no answer}."""
    python, module = sys.executable, "benchmarks.cells"
    if peer:
        python, module = options.breaching_python if peer == "breaching" else sys.executable, "benchmarks.peers"
    common = {name: getattr(options, name) for name in ("device", "threads", "steps", "classes")}
    settings = {} if options.precision == "auto" else {"precision": options.precision}
    question = {**common, "settings": settings, "peer": peer, "checkout": options.invertinggradients, **asked}
    command = [python, "-m", module, json.dumps(question)]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {options.limit:.0f} s"}
    if done.returncode < 0:
        return {"error": f"killed by signal {-done.returncode}, as for a lack of memory"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no word"])[-1][:160]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def row(found: dict[str, Any]) -> str:
    """Rate, memory and PSNR, or why there are none."""
    if "error" in found:
        return f"{said(found)} | | |"
    return f"{found['rate']:.2f} | {found['work_rate']:.2f} | {found['peak'] / GIB:.2f} | {found['psnr']:.2f}"


def said(found: dict[str, Any]) -> str:
    """Why a cell has no figures."""
    return f"no result: {found['error'].replace('|', '/')}"


def form(found: dict[str, Any]) -> str:
    """How it was computed, as the record says."""
    record = found.get("record", {})
    parts = [str(record[name]) for name in ("gradients", "precision", "step") if name in record]
    return f" ({'; '.join(parts)})" if parts else ""


def peers(options: argparse.Namespace) -> list[str]:
    """The engines to compare with."""
    asked = {"breaching": options.breaching_python, "invertinggradients": options.invertinggradients}
    return [name for name, where in asked.items() if where]


def processor() -> str:
    """The processor's name and how many cores we see."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["convnet", "resnet20-4", "resnet18", "vit-tiny"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 112])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="at least 10; on a GPU 200, so that the step is recorded")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that a cell may take")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "tf32", "bf16"))
    parser.add_argument("--breaching-python", default="", help="a Python that can import breaching")
    parser.add_argument("--invertinggradients", default="", help="folder of a checkout")
    return parser.parse_args()


if __name__ == "__main__":
    main()
