"""Where pretrained weights are found, what is refused, and that a wrong checksum leaves nothing behind."""

import hashlib
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from core.errors import UserError
from core.models import weights as weights_module
from core.models.weights import WEIGHTS, FoundWeights, MissingWeights, WeightsRecord, find_weights
from core.settings import Settings, load_settings

TINY = WeightsRecord(
    "tiny-features",
    "A tiny network's convolutions",
    {"features.0.weight": (2, 3, 1, 1), "features.0.bias": (2,)},
    "https://127.0.0.1/tiny-00000000.pth",
    "",
    "none",
    1,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty home and an empty torch cache."""
    return load_settings({"SEMSIGHT_HOME": str(tmp_path / "home"), "TORCH_HOME": str(tmp_path / "torch")})


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WeightsRecord, Path]:
    """A checkpoint in torch's own format, with a layer that must not be kept, and its record."""
    path = tmp_path / "published.pth"
    state = {
        "features.0.weight": torch.arange(6.0).reshape(2, 3, 1, 1),
        "features.0.bias": torch.tensor([0.5, -1.0]),
        "classifier.weight": torch.zeros(4, 4),
    }
    torch.save(state, path)
    prefix = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    record = replace(TINY, url=f"https://127.0.0.1/tiny-{prefix}.pth", sha256=prefix)
    monkeypatch.setitem(weights_module.WEIGHTS, record.name, record)
    return record, path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of tmp_path on a loopback server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(tmp_path), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_shared_alexnet_is_found_under_the_weights_folder(shared: Path, settings: Settings) -> None:
    found = find_weights("alexnet-imagenet-features", replace(settings, weights=shared / "weights"))
    assert isinstance(found, FoundWeights)
    assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()


@pytest.mark.parametrize("model", ["alexnet", "vgg16", "squeezenet1_1"])
def test_records_fit_torchvision(model: str) -> None:
    record = WEIGHTS[f"{model}-imagenet-features"]
    with torch.device("meta"):
        module = torchvision.models.get_model(model, weights=None)
    state = {key: tuple(t.shape) for key, t in module.state_dict().items() if key.startswith("features.")}
    assert record.shapes == state
    assert record.url == torchvision.models.get_model_weights(model).IMAGENET1K_V1.url


def test_checksums_are_those_in_the_published_addresses() -> None:
    # torchvision, torch-fidelity and OpenAI write a file's sha256 into its address; that of DINO's file stands on its
    # page, https://huggingface.co/timm/vit_small_patch16_224.dino/blob/a0b40130d29ebc347b9bf146a1ecf0edf3fdca60/pytorch_model.bin
    for name, record in WEIGHTS.items():
        assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", record.sha256)
        assert record.sha256 in record.url or name == "dino-vits16"
        assert record.url.startswith("https://")
        assert record.licence
        assert 0 < record.mebibytes < 700
    assert WEIGHTS["dino-vits16"].sha256 == "49a1c6cc0534ac3f4c7ec18cc6e24374952f602e87a12271648fca99f84ca898"


def test_inception_is_that_of_fid() -> None:
    # FID's network has the layers of torchvision's Inception v3 without the auxiliary head (it pools and pads
    # otherwise), and TensorFlow's 1008 classes. BatchNorm's counts of batches are left out; torch fills them in.
    with torch.device("meta"):
        module = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    state = {k: tuple(t.shape) for k, t in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert WEIGHTS["inception-fid"].shapes == state
    assert len(state) == 94 * 5 + 2


def test_inception_checkpoint_is_taken_in_and_loads_strictly(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        module = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    state = {
        key: torch.full(t.shape, 0.5) if t.is_floating_point() else torch.tensor(3)
        for key, t in module.state_dict().items()
    }
    path = tmp_path / "inception.pth"
    torch.save(state, path)
    prefix = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(weights_module.WEIGHTS, "inception-fid", replace(WEIGHTS["inception-fid"], sha256=prefix))
    found = find_weights("inception-fid", settings, download=True, url=path.as_uri())
    assert isinstance(found, FoundWeights)
    module.load_state_dict(load_file(found.path), strict=True, assign=True)
    assert float(module.Mixed_7c.branch_pool.bn.running_var[0]) == 0.5
    assert int(module.Mixed_7c.branch_pool.bn.num_batches_tracked) == 0


def test_nothing_found_says_what_to_do(settings: Settings) -> None:
    missing = find_weights("vgg16-imagenet-features", settings)
    assert isinstance(missing, MissingWeights)
    assert "vgg16-imagenet-features.safetensors" in missing.reason
    assert "vgg16-397923af.pth" in missing.reason
    with pytest.raises(UserError, match="did you mean vgg16-imagenet-features"):
        find_weights("vgg16-features", settings)


def test_torch_cache_is_converted_once(settings: Settings, tiny: tuple[WeightsRecord, Path]) -> None:
    record, published = tiny
    assert settings.torch_cache is not None
    settings.torch_cache.mkdir(parents=True)
    shutil.copy(published, settings.torch_cache / record.file)
    found = find_weights(record.name, settings)
    assert isinstance(found, FoundWeights)
    tensors = load_file(found.path)
    assert set(tensors) == {"features.0.weight", "features.0.bias"}
    assert tensors["features.0.weight"].flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    (settings.torch_cache / record.file).unlink()
    assert find_weights(record.name, settings) == found


def test_torch_cache_file_that_was_changed_is_refused(settings: Settings, tiny: tuple[WeightsRecord, Path]) -> None:
    record, published = tiny
    assert settings.torch_cache is not None
    settings.torch_cache.mkdir(parents=True)
    (settings.torch_cache / record.file).write_bytes(published.read_bytes() + b"x")
    missing = find_weights(record.name, settings)
    assert isinstance(missing, MissingWeights)
    assert "checksum" in missing.reason
    assert not settings.weights.exists()


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_download_with_the_right_checksum(
    scheme: str, settings: Settings, tiny: tuple[WeightsRecord, Path], served: str
) -> None:
    record, published = tiny
    url = published.as_uri() if scheme == "file" else f"{served}/{published.name}"
    assert isinstance(find_weights(record.name, settings, url=url), MissingWeights), "only when asked"
    found = find_weights(record.name, settings, download=True, url=url)
    assert isinstance(found, FoundWeights)
    assert load_file(found.path)["features.0.bias"].tolist() == [0.5, -1.0]
    assert [path.name for path in settings.weights.iterdir()] == ["tiny-features.safetensors"]


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_download_with_a_wrong_checksum_leaves_nothing(
    scheme: str, settings: Settings, tiny: tuple[WeightsRecord, Path], served: str
) -> None:
    record, published = tiny
    published.write_bytes(published.read_bytes()[:-1] + b"?")
    url = published.as_uri() if scheme == "file" else f"{served}/{published.name}"
    missing = find_weights(record.name, settings, download=True, url=url)
    assert isinstance(missing, MissingWeights)
    assert "checksum" in missing.reason
    assert list(settings.weights.iterdir()) == []


@pytest.mark.parametrize(("url", "word"), [("{served}/absent.pth", "404"), ("ftp://127.0.0.1/x", "address")])
def test_download_that_fails_is_one_sentence(
    url: str, word: str, settings: Settings, tiny: tuple[WeightsRecord, Path], served: str
) -> None:
    missing = find_weights(tiny[0].name, settings, download=True, url=url.format(served=served))
    assert isinstance(missing, MissingWeights)
    assert word in missing.reason


def test_checkpoint_that_runs_code_is_refused(
    settings: Settings, tmp_path: Path, tiny: tuple[WeightsRecord, Path]
) -> None:
    record, _ = tiny
    whole = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), whole)  # a pickled module, not a state dict
    prefix = hashlib.sha256(whole.read_bytes()).hexdigest()[:8]
    weights_module.WEIGHTS[record.name] = replace(record, sha256=prefix)  # undone by the fixture
    missing = find_weights(record.name, settings, download=True, url=whole.as_uri())
    assert isinstance(missing, MissingWeights)
    assert "cannot be read" in missing.reason


def test_wrong_file_under_the_right_name_is_refused(settings: Settings, tiny: tuple[WeightsRecord, Path]) -> None:
    record, _ = tiny
    settings.weights.mkdir(parents=True)
    path = settings.weights / f"{record.name}.safetensors"
    bias = torch.zeros(2)
    for tensors, word in (
        ({"features.0.weight": torch.zeros(2, 3, 1, 1)}, "does not hold"),
        ({"features.0.weight": torch.zeros(2, 3, 2, 1), "features.0.bias": bias}, "does not hold"),
        ({"features.0.weight": torch.zeros(2, 3, 1, 1).half(), "features.0.bias": bias}, "float32"),
    ):
        save_file(tensors, path)
        missing = find_weights(record.name, settings)
        assert isinstance(missing, MissingWeights)
        assert word in missing.reason
    for junk in (b"", b"1234567", b"\xff" * 100, b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"{x"):
        path.write_bytes(junk)
        assert isinstance(find_weights(record.name, settings), MissingWeights)


def test_looking_for_weights_imports_no_torch(settings: Settings) -> None:
    code = (
        "import sys; from core.models.weights import WEIGHTS, find_weights; from core.settings import load_settings\n"
        f"s = load_settings({{'SEMSIGHT_HOME': {str(settings.home)!r}, 'TORCH_HOME': {str(settings.home)!r}}})\n"
        "print(all(not hasattr(find_weights(name, s), 'path') for name in WEIGHTS), 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "False"]
