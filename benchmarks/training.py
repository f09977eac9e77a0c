"""Images a second of a victim's training, beside a plain PyTorch loop: `python -m benchmarks.training`.

    python -m benchmarks.training --models lenet resnet20-4 --threads 1
    python -m benchmarks.training --device cuda --images 25600 --workers 4

The plain loop is what the paper's code does: a DataLoader over Pillow images with torchvision's RandomCrop(32, 4),
RandomHorizontalFlip, ToTensor and Normalize, SGD with Nesterov's momentum, the loss read after every step. Both train
the same model on the same images in batches of 64, in turn; medians of the rounds. Random pixels: nothing here depends
on what they show. --ats adds what an ATS policy costs in ours.
"""

import argparse
import platform
import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.training.loop import fit
from core.models.training.recipe import Recipe

BATCH, CLASSES = 64, 100
STEPS = {"lenet": 60, "convnet": 1, "resnet20-4": 2}  # of a round on a CPU, so that all ends within three minutes
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
RECIPE = Recipe(epochs=1, batch_size=BATCH)


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Images as torchvision's CIFAR-100 gives them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), int(self.labels[place])


def main() -> None:
    """Print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    for flag in (torch.backends.cuda.matmul, torch.backends.cudnn):
        flag.allow_tf32 = False  # both loops in the same arithmetic
    machine = f"{platform.processor() or platform.machine()}, {options.device}, {options.threads} threads"
    print(f"{machine}, torch {torch.__version__}, batches of {BATCH}, 32×32 px")
    print("| model | loop | images / s | per CPU second | ratio by the clock | by the processor |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in options.models:
        count = options.images or STEPS.get(name, 3) * BATCH
        for loop, rate, work, faster, cheaper in compare(name, count, options):
            print(f"| {name} | {loop} | {rate:,.1f} | {work:,.1f} | {faster:.2f} | {cheaper:.2f} |", flush=True)


def compare(name: str, count: int, options: argparse.Namespace) -> list[tuple[str, float, float, float, float]]:
    """Of each loop: images a second of the clock and of the processor, medians of the rounds; and both ratios.

    A ratio is to the plain loop of the same round, again the median. The loops take turns and every other round
    goes backwards, so that what else the machine does meets all alike. The processor's seconds are this process's:
    those of a GPU or of a DataLoader's workers are not among them.
    """
    spec = ModelSpec(name, CLASSES, mean=MEAN, std=STD)
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), draw.integers(0, CLASSES, count)
    loops = {
        "plain": lambda: plain(spec, images, labels, options),
        "SemSight": lambda: ours(spec, images, labels, options, RECIPE),
    }
    if options.ats:
        policies = replace(RECIPE, policies="3-1-7+43-18-18")
        loops["SemSight, ATS 3-1-7+43-18-18"] = lambda: ours(spec, images, labels, options, policies)
    clock: dict[str, list[float]] = {loop: [] for loop in loops}
    work: dict[str, list[float]] = {loop: [] for loop in loops}
    for number in range(options.rounds):
        for loop in list(loops)[:: -1 if number % 2 else 1]:
            started, computed = time.perf_counter(), time.process_time()
            loops[loop]()
            clock[loop].append(count / (time.perf_counter() - started))
            work[loop].append(count / (time.process_time() - computed))

    def ratio(rates: dict[str, list[float]], loop: str) -> float:
        return median(own / plain for own, plain in zip(rates[loop], rates["plain"], strict=True))

    return [(loop, median(clock[loop]), median(work[loop]), ratio(clock, loop), ratio(work, loop)) for loop in loops]


def ours(spec: ModelSpec, images: np.ndarray, labels: np.ndarray, options: argparse.Namespace, recipe: Recipe) -> None:
    """One epoch of `fit`."""
    fit(spec, images, labels, images[:0], labels[:0], recipe, device=options.device)


def plain(spec: ModelSpec, images: np.ndarray, labels: np.ndarray, options: argparse.Namespace) -> None:
    """One epoch of the plain loop."""
    device = torch.device(options.device)
    model = build_model(spec).to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(
        Pictures(images, labels), BATCH, shuffle=True, num_workers=options.workers, pin_memory=device.type == "cuda"
    )
    loss_sum = 0.0
    for x, y in loader:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x.to(device)), y.to(device))
        loss.backward()
        optimiser.step()
        loss_sum += loss.item()


def parse() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(STEPS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", type=int, default=0, help="of a round; 0: as many as end within three minutes")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader; the paper's code has 4")
    parser.add_argument("--ats", action="store_true", help="also with ATS policies")
    return parser.parse_args()


if __name__ == "__main__":
    main()
