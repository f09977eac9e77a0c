"""lpips itself, made to use weights that are at hand."""

from pathlib import Path

import torch


def peer_lpips(net: str, weights: Path) -> torch.nn.Module:
    """lpips itself, with the same backbone weights put in where it would download them."""
    import lpips
    import torchvision
    from safetensors.torch import load_file

    names = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False, version="0.1")
    features = getattr(torchvision.models, names[net])(weights=None).features
    file = weights / f"{names[net]}-imagenet-features.safetensors"
    features.load_state_dict({k.removeprefix("features."): v for k, v in load_file(file).items()})
    place = 0
    for number in range(1, model.net.N_slices + 1):
        part = getattr(model.net, f"slice{number}")
        for name in list(part._modules):
            part._modules[name] = features[place]
            place += 1
    return model.eval()
