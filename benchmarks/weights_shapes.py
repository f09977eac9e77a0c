"""Write assets/weights: the names and shapes of pretrained networks' tensors, `python -m benchmarks.weights_shapes`.

core.models.weights compares files with these tables without importing torch. The networks are built without numbers
and nothing is downloaded. `inception-fid` needs the package torch-fidelity, the vision transformers timm. Where a file
is published, and its checksum, stand in assets/weights/weights.json, which is written by hand.
"""

import argparse
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch

import torch
import torchvision
from torch import nn

from core.models.weights import TABLES
from core.registry import look_up


def main() -> None:
    """Write the tables that are asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BUILDERS)}; default: all")
    parser.add_argument("--out", type=Path, default=TABLES, help="folder to write (default: assets/weights)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or BUILDERS:
        rows = (f"{json.dumps(key)}: {json.dumps(shape)}" for key, shape in shapes(name).items())
        (arguments.out / f"{name}.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def shapes(name: str) -> dict[str, list[int]]:
    """Names and shapes of the float32 tensors that the weights called `name` hold, in the network's order."""
    with torch.device("meta"):
        state = look_up(BUILDERS, name, "pretrained network")()
    return {key: list(tensor.shape) for key, tensor in state.items() if tensor.dtype == torch.float32}


def _features(model: str) -> Mapping[str, torch.Tensor]:
    state = torchvision.models.get_model(model, weights=None).state_dict()
    return {key: tensor for key, tensor in state.items() if key.startswith("features.")}


def _inception() -> Mapping[str, torch.Tensor]:
    module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    with (
        patch.object(module, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        patch.object(nn.Module, "load_state_dict", lambda *args: None),
    ):
        network: nn.Module = module.FeatureExtractorInceptionV3("inception", ["2048"])
    return network.state_dict()


def _timm(model: str) -> Mapping[str, torch.Tensor]:
    network: nn.Module = importlib.import_module("timm").create_model(model, pretrained=False)
    return network.state_dict()


BUILDERS: dict[str, Callable[[], Mapping[str, torch.Tensor]]] = {
    "alexnet-imagenet-features": lambda: _features("alexnet"),
    "vgg16-imagenet-features": lambda: _features("vgg16"),
    "squeezenet1_1-imagenet-features": lambda: _features("squeezenet1_1"),
    "inception-fid": _inception,
    "dino-vits16": lambda: _timm("vit_small_patch16_224.dino"),
    "clip-vitb32": lambda: _timm("vit_base_patch32_clip_quickgelu_224.openai"),
}

if __name__ == "__main__":
    main()
