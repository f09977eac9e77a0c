"""What DLG still sees under each defence, told of it or not: `python -m benchmarks.defences`.

Bundled faces at 32×32, the LeNet preset of DLG, one face an update (two for mixup, paired by one assignment), labels
granted. Prints the median PSNR over the faces, against the very pixels that the victim was given, as a table. The whole
of it takes minutes on two cores; `--only NAME` runs one defence.
"""

import argparse
import platform
import time
from collections.abc import Sequence

import numpy as np
import torch

from core.attacks import ATTACKS, configure
from core.images.load import load_images
from core.leakage.defences import DEFENCES, check_defences, completed, configure_defence
from core.leakage.defences.clipping import epsilon
from core.leakage.defences.pictures import defended
from core.leakage.pairing import pair_batches
from core.leakage.threat import ChosenDefence, ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.presets import PRESETS

Settings = dict[str, object]
CASES: tuple[tuple[tuple[str, Settings], ...], ...] = (
    (),
    (("gaussian", {"std": 1e-3}),),
    (("gaussian", {"std": 1e-2}),),
    (("laplace", {"b": 1e-2}),),
    (("clip", {"norm": 1.0}),),
    (("dp-sgd", {"clip": 1.0, "noise": 1e-3}),),
    (("dp-sgd", {"clip": 1.0, "noise": 1.0}),),
    (("top-k", {"share": 0.1}),),
    (("prune", {"share": 0.7}),),
    (("prune", {"share": 0.99}),),
    (("sign", {}),),
    (("quantise", {"bits": 8}),),
    (("quantise", {"bits": 2}),),
    (("soteria", {"share": 0.8}),),
    (("ats", {"policy": "3-1-7"}),),
    (("crop-flip", {}), ("ats", {"policy": "3-1-7+43-18-18"})),
    (("mixup", {"weight": 0.75}),),
    (("label-smoothing", {"share": 0.3}),),
    (("prune", {"share": 0.7}), ("gaussian", {"std": 1e-3})),
)


def median_psnr(threat: ThreatModel, faces: int, iterations: int) -> float:
    """Median over faces of the PSNR of DLG's chosen reconstructions, rounded to 8 bits as they are stored."""
    spec = PRESETS["lenet"]
    prepared = defended(load_images("lfw", spec=spec, limit=faces), threat, seed=0)
    size = threat.batch_size
    originals = np.stack([image.original for image in prepared]).reshape(-1, size, spec.height, spec.width, 3)
    labels = torch.tensor([image.label for image in prepared]).reshape(-1, size)
    if size > 1:
        labels[:] = torch.arange(size)  # faces share a class, and then mixing labels changes nothing
    pixels = torch.from_numpy(originals).movedim(-1, -3).float() / 255
    observation, _ = observe(build_model(spec), spec, pixels, labels, threat)
    config = configure("dlg", {"iterations": iterations, "restarts": 1})
    found = ATTACKS["dlg"].reconstruct(observation, config, seed=0)
    pairing = pair_batches(originals, found.images)
    scores = []
    for update in range(len(originals)):
        for place in range(size):
            original = originals[update, pairing.permutation[update, 0, place]].astype(float)
            error = np.mean((found.images[update, 0, place] / 255 - original / 255) ** 2)
            scores.append(-10 * np.log10(max(error, 1e-12)))
    return float(np.median(scores))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=4, help="an even number (default: 4)")
    parser.add_argument("--iterations", type=int, default=300, help="of L-BFGS, one start (default: 300)")
    parser.add_argument("--only", metavar="NAME", help="cases with this defence alone")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        f"{asked.faces} faces, dlg with {asked.iterations} iterations and 1 start; {platform.machine()}, 1 thread, CPU"
    )
    print("| defence | settings | told: PSNR (dB) | not told: PSNR (dB) | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for case in CASES:
        if asked.only and asked.only not in [name for name, _ in case]:
            continue
        chosen = tuple(ChosenDefence(name, settings) for name, settings in case)
        threat = completed(ThreatModel(2 if any(name == "mixup" for name, _ in case) else 1, defences=chosen))
        check_defences(threat)
        began = time.monotonic()
        told = median_psnr(threat, asked.faces, asked.iterations)
        hidden = "the same"
        if any(DEFENCES[name].adapt or DEFENCES[name].on_targets for name, _ in case):
            blind = ThreatModel(threat.batch_size, defences=threat.defences, adaptive=False)
            hidden = f"{median_psnr(blind, asked.faces, asked.iterations):.1f}"
        names = " + ".join(f"`{name}`" for name, _ in case) or "none"
        print(f"| {names} | {_words(case)} | {told:.1f} | {hidden} | {time.monotonic() - began:.0f} |", flush=True)


def _words(case: tuple[tuple[str, Settings], ...]) -> str:
    parts = [f"{key} {value}" for _, settings in case for key, value in settings.items()]
    parts += [f"ε = {epsilon(configure_defence(name, values)):.3g}" for name, values in case if name == "dp-sgd"]
    return ", ".join(parts) or "–"


if __name__ == "__main__":
    main()
