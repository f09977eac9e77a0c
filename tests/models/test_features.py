"""What the last layer takes: for every preset and for one of each family of torchvision."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from core.models.build import build_model, load_weights
from core.models.features import head_features
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec

VISION = {"resnet18": 32, "squeezenet1_1": 32, "swin_t": 32, "vit_b_32": 32, "vgg11": 32, "densenet121": 32}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_presets_head_makes_its_logits_of_its_features(name: str) -> None:
    data = preset_weights(name)
    model = build_model(PRESETS[name], None if data is None else load_weights(data))
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features, head = head_features(model), getattr(model, "head", None) or model.fc
    with torch.inference_mode():
        found = features(images)
        assert found.shape == (3, head.in_features)
        # by definition: the head applied to what it takes gives the logits; the same again on the second call
        torch.testing.assert_close(head(found), model(images))
        torch.testing.assert_close(features(images[1:]), found[1:], rtol=1e-4, atol=1e-6)
    assert not head._forward_pre_hooks  # nothing of ours stays behind


@pytest.mark.parametrize("name", sorted(VISION))
def test_the_last_layer_of_torchvisions_families_is_found(name: str) -> None:
    size = VISION[name]
    model = build_model(ModelSpec(name, 7, height=size, width=size))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, logits = head_features(model)(images), model(images)
        if name == "squeezenet1_1":  # its last layer is a 1×1 convolution, followed by ReLU and the mean over the rest
            maps = found.reshape(2, 512, -1)
            weight, bias = model.classifier[1].weight[:, :, 0, 0], model.classifier[1].bias
            again = torch.relu(weight @ maps + bias[:, None]).mean(2)
        else:
            last = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == 7][-1]
            again = last(found)
        torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-5)


def test_grey_models_and_models_without_a_layer() -> None:
    spec = replace(PRESETS["lenet"], channels=1, mean=(0.0,), std=(1.0,))
    assert head_features(build_model(spec))(torch.rand(2, 1, 32, 32)).shape == (2, 768)  # 12 × 8 × 8
    with pytest.raises(RuntimeError, match="calls no layer with parameters"):
        head_features(nn.Flatten())(torch.rand(1, 3, 2, 2))
