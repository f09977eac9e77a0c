"""ImageNet weights in torchvision's own file formats: taken in, fitted to a spec, or refused with a reason."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import models

from core.errors import UserError
from core.models import pretrained
from core.models.build import build_model
from core.models.pretrained import PRETRAINED, pretrained_state, where_found
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings

NAME = "shufflenet_v2_x0_5"  # the lightest with BatchNorm: 5 MB


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"SEMSIGHT_HOME": str(tmp_path / "home"), "TORCH_HOME": str(tmp_path / "torch")})


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A seeded state dict of torchvision's own model, with statistics that are no fresh model's."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = models.get_model(NAME, weights=None)
        module(torch.rand(2, 3, 64, 64))
    return module.state_dict()


def publish(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, content: object, name: str = NAME, *, zipped: bool = True
) -> Path:
    """Save `content` as torch.save does, under its own hash, in torch's cache; and let the record name it."""
    assert settings.torch_cache is not None
    settings.torch_cache.mkdir(parents=True, exist_ok=True)
    draft = settings.torch_cache / "draft.pth"
    torch.save(content, draft, _use_new_zipfile_serialization=zipped)
    prefix = hashlib.sha256(draft.read_bytes()).hexdigest()[:8]
    path = draft.rename(draft.with_name(f"{name}-{prefix}.pth"))
    record = replace(PRETRAINED[name], url=f"https://127.0.0.1/{path.name}")
    monkeypatch.setitem(pretrained.PRETRAINED, name, record)
    return path


def test_records_are_torchvisions() -> None:
    for name, record in PRETRAINED.items():
        urls = {member.url for member in models.get_model_weights(name)}
        assert record.url in urls
        assert re.fullmatch("[0-9a-f]{8,10}", record.sha256)
        assert 224 <= record.size <= 600
        assert 0 < record.mebibytes < 2500
        assert record.licence
    assert set(PRETRAINED) == set(models.list_models(module=models))
    # torchvision's Inceptions normalise what was normalised: ((x - .485) / .229) · .229 / .5 + (.485 - .5) / .5
    assert PRETRAINED["inception_v3"].mean == PRETRAINED["inception_v3"].std == (0.5, 0.5, 0.5)
    assert PRETRAINED["resnet18"].mean == (0.485, 0.456, 0.406)
    assert PRETRAINED["resnet18"].std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("zipped", [True, False])
def test_published_weights_answer_as_torchvisions_model(
    settings: Settings, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    path = publish(settings, monkeypatch, state, zipped=zipped)
    assert where_found(NAME, settings) == path
    spec = ModelSpec(NAME, 1000, height=64, width=64)
    ours = build_model(spec, pretrained_state(spec, settings))
    theirs = models.get_model(NAME, weights=None)
    theirs.load_state_dict(state)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(x), theirs.eval()(x))
    path.unlink()  # converted by now
    assert where_found(NAME, settings) == settings.weights / f"{NAME}-imagenet.safetensors"
    again = pretrained_state(spec, settings)
    assert all(torch.equal(again[k], v) for k, v in state.items() if v.is_floating_point())


def test_another_number_of_classes_draws_the_head_from_the_seed_alone(
    settings: Settings, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, monkeypatch, state)
    spec = ModelSpec(NAME, 7, height=32, width=32, init_seed=5, class_names=tuple("abcdefg"))
    found, drawn = pretrained_state(spec, settings), build_model(spec).state_dict()
    assert found.keys() == drawn.keys()
    for key, tensor in found.items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, drawn[key] if key.startswith("fc.") else state[key]), key
    assert found["fc.weight"].shape == (7, 1024)
    assert not torch.equal(found["conv5.1.running_mean"], torch.zeros(1024))
    other = pretrained_state(replace(spec, init_seed=6), settings)
    assert not torch.equal(other["fc.weight"], found["fc.weight"])
    build_model(spec, found)


def test_older_names_of_densenet_are_todays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published file says denselayer1.norm.1.weight; in torch's older format, which is no zip."""
    from core.models.weights import WeightsRecord
    from core.models.weights_intake import _strict_state

    file = tmp_path / "old.pth"
    old = {f"features.denseblock1.denselayer1.{part}.weight": torch.ones(2) for part in ("norm.1", "conv.2")}
    torch.save(old | {"features.norm5.weight": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    record = WeightsRecord("old", "old", {}, "https://127.0.0.1/old.pth", "", "", 1, layout="strict")
    names = [f"features.denseblock1.denselayer1.{part}.weight" for part in ("norm1", "conv2")]
    assert list(_strict_state(file, record)) == [*names, "features.norm5.weight"]


def test_absent_weights_are_named_and_never_drawn(settings: Settings) -> None:
    assert where_found("resnet18", settings) is None
    wanted = r"unavailable: .*no resnet18-imagenet.safetensors under SEMSIGHT_WEIGHTS.*resnet18-f37072fd.pth.*45 MiB"
    with pytest.raises(UserError, match=wanted):
        pretrained_state(ModelSpec("resnet18", 10), settings)


def test_what_does_not_fit_is_refused(settings: Settings) -> None:
    with pytest.raises(UserError, match="colour images of 3 channels, not 1"):
        pretrained_state(ModelSpec("resnet18", 10, channels=1, mean=(0.0,), std=(1.0,)), settings)
    with pytest.raises(UserError, match="No ImageNet weights are published for ConvNet"):
        pretrained_state(ModelSpec("convnet", 10), settings)


def test_a_file_that_was_not_published_is_refused(
    settings: Settings, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(settings, monkeypatch, state)
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"has the checksum .*not taken in"):
        pretrained_state(ModelSpec(NAME, 10), settings)
    assert not list(settings.weights.glob("*"))


def test_layers_of_another_model_are_refused(
    settings: Settings, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, monkeypatch, state | {"conv1.0.weight": torch.zeros(24, 3, 5, 5)})
    with pytest.raises(UserError, match="does not hold the layers that its name promises"):
        pretrained_state(ModelSpec(NAME, 10), settings)
    assert not list(settings.weights.glob("*"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    publish(settings, monkeypatch, torch.nn.Linear(2, 2), zipped=zipped)
    with pytest.raises(UserError, match=r"unavailable: .*(pickled|cannot be read|module)"):
        pretrained_state(ModelSpec(NAME, 10), settings)
    assert not list(settings.weights.glob("*"))


def test_a_transformer_takes_its_weights_at_their_own_size_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 32 px vit_b_32 has 2 tokens where the published one has 50: the sentence says which size fits."""
    from core.models.weights import FoundWeights

    state = build_model(ModelSpec("vit_b_32", 10, height=64, width=64)).state_dict()
    monkeypatch.setattr(pretrained, "find_pretrained", lambda *_, **__: FoundWeights(Path("unused"), ""))
    monkeypatch.setattr("core.models.build.load_weights", lambda _: state)
    with pytest.raises(UserError, match=r"224×224 pixels \(encoder.pos_embedding has shape \(1, 5, 768\)"):
        pretrained_state(ModelSpec("vit_b_32", 10), settings)
