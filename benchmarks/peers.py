"""Other engines on the same targets, in a process of the Python that has them: `PYTHON -m benchmarks.peers JSON`.

Each attacks one image after another, as its interface has it; an image-step costs the same for every image, so a few
images are timed and N of them would take N times as long. Both are called by their public interface, as they are.
`inversefed` (github.com/JonasGeiping/invertinggradients) was not at hand when this was written: that part never ran.
"""

import json
import resource
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.cells import observation_of, psnr
from core.models.build import build_model

TOTAL_VARIATION, STEP_SIZE = 1e-4, 0.1  # as in our attack


def main() -> None:
    """Compute what was asked and print it."""
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    observation, images = observation_of(asked)
    spec = observation.spec
    model = build_model(spec, observation.weights).to(asked["device"])
    attack = {"breaching": Breaching, "invertinggradients": InvertingGradients}[asked["peer"]](model, spec, asked)
    gradients = [[value[n] for value in observation.gradients.values()] for n in range(observation.count)]
    attack.run(gradients[0], observation.labels[0], 2)  # warm
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found, seconds, work = [], [], []
    for n in range(observation.count):
        began, worked = time.perf_counter(), time.process_time()
        found.append(attack.run(gradients[n], observation.labels[n], asked["steps"]).cpu())
        seconds.append(time.perf_counter() - began)
        work.append(time.process_time() - worked)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    pixels = ((torch.cat(found) * std + mean).clamp(0, 1) * 255).round() / 255
    if asked["device"].startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
    steps = asked["steps"] * observation.count
    rates = {"rate": steps / sum(seconds), "work_rate": steps / sum(work)}
    print(json.dumps({**rates, "peak": peak, "psnr": psnr(pixels, images[:, 0]), "record": {}}))


class Breaching:
    """breaching 0.1.2's attack "invertinggradients" with our step size and prior."""

    def __init__(self, model: torch.nn.Module, spec: Any, asked: dict[str, Any]) -> None:
        import breaching

        self.config = breaching.get_attack_config("invertinggradients")
        self.config.regularization.total_variation.scale = TOTAL_VARIATION
        self.config.optim.step_size = STEP_SIZE
        self.model, self.spec, self.library = model, spec, breaching
        self.setup = {"dtype": torch.float, "device": torch.device(asked["device"])}

    def run(self, gradient: list[torch.Tensor], label: torch.Tensor, steps: int) -> torch.Tensor:
        """(1, C, H, W) in normalised space."""
        spec, loss = self.spec, torch.nn.CrossEntropyLoss()
        self.config.optim.max_iterations = steps
        attack = self.library.attacks.prepare_attack(self.model, loss, self.config, self.setup)
        about = SimpleNamespace(
            shape=(spec.channels, spec.height, spec.width), mean=spec.mean, std=spec.std, modality="vision"
        )
        payload = {
            "parameters": [value.detach() for value in self.model.parameters()],
            "buffers": list(self.model.buffers()),
            "metadata": about,
        }
        facts = {"num_data_points": 1, "labels": label, "local_hyperparams": None}
        shared = {"gradients": gradient, "buffers": None, "metadata": facts}
        answer, _ = attack.reconstruct([payload], [shared], {})
        image: torch.Tensor = answer["data"].detach()
        return image


class InvertingGradients:
    """The reconstructor of an invertinggradients checkout, with the settings of its README and ours of the prior."""

    def __init__(self, model: torch.nn.Module, spec: Any, asked: dict[str, Any]) -> None:
        sys.path.insert(0, asked["checkout"])
        import inversefed

        self.library, self.model, self.spec = inversefed, model, spec
        self.constants = [
            torch.tensor(values, device=asked["device"])[:, None, None] for values in (spec.mean, spec.std)
        ]

    def run(self, gradient: list[torch.Tensor], label: torch.Tensor, steps: int) -> torch.Tensor:
        """(1, C, H, W) in normalised space."""
        config = {
            "signed": True,
            "boxed": True,
            "cost_fn": "sim",
            "indices": "def",
            "weights": "equal",
            "lr": STEP_SIZE,
            "optim": "adam",
            "restarts": 1,
            "max_iterations": steps,
            "total_variation": TOTAL_VARIATION,
            "init": "randn",
            "filter": "none",
            "lr_decay": True,
            "scoring_choice": "loss",
        }
        attack = self.library.GradientReconstructor(self.model, tuple(self.constants), config, num_images=1)
        shape = (self.spec.channels, self.spec.height, self.spec.width)
        image, _ = attack.reconstruct(gradient, label, img_shape=shape)
        answer: torch.Tensor = image.detach()
        return answer


if __name__ == "__main__":
    main()
