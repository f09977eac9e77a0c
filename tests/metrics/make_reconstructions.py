"""Makes reconstructions.npz, the real reconstructions of the tests: `python -m tests.metrics.make_reconstructions`.

Ten of the images that come with the project (five of `lfw`, five of `photos`, 32×32), whose gradients the untrained
preset `lenet` shares, attacked by the product's own Inverting Gradients, stopped after 40, 300 and 2,000 steps, and by
DLG, stopped after 40: from noise with a hint of the picture to nearly the picture. 40 pairs, as 8-bit pixels:
originals and reconstructions (40, 32, 32, 3) uint8, attacks (40,) text. The file in the repository was made on a CPU by
torch 2.14; another version may give other pixels, which the tests do not mind.
"""

from pathlib import Path

import numpy as np
import torch

from core.attacks import ATTACKS, configure
from core.attacks.engine import Quiet
from core.images.load import load_images
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.presets import PRESETS

FILE = Path(__file__).with_name("reconstructions.npz")
EACH = 5  # images of either set
STOPS = (
    ("inverting-gradients", {"steps": 40}),
    ("inverting-gradients", {"steps": 300}),
    ("inverting-gradients", {"steps": 2000}),
    ("dlg", {"iterations": 40}),
)


def main() -> None:
    """Attack and write."""
    spec = PRESETS["lenet"]
    originals = np.concatenate([[p.original for p in load_images(s, spec=spec, limit=EACH)] for s in ("lfw", "photos")])
    images = torch.from_numpy(originals.transpose(0, 3, 1, 2)[:, None].copy()).float() / 255
    labels = torch.arange(len(images))[:, None] % spec.num_classes
    observation = observe(build_model(spec), spec, images, labels, ThreatModel())[0]
    found, names = [], []
    for attack, changed in STOPS:
        done = ATTACKS[attack].reconstruct(observation, configure(attack, changed), seed=0, progress=Quiet())
        found.append(np.asarray(done.images)[:, 0, 0])
        names += [f"{attack}, {next(iter(changed.values()))} steps"] * len(images)
        print(names[-1], found[-1].shape, found[-1].dtype)
    np.savez_compressed(
        FILE,
        originals=np.concatenate([originals] * len(STOPS)),
        reconstructions=np.concatenate(found),
        attacks=np.array(names),
    )


if __name__ == "__main__":
    main()
