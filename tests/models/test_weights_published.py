"""The other forms that weights are published in: plain safetensors, OpenAI's archive, and by hand only."""

import hashlib
import http.server
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from core.models import weights as weights_module
from core.models.weights import WEIGHTS, FoundWeights, MissingWeights, WeightsRecord, find_weights
from core.settings import Settings, load_settings

SHAPES = {"cls_token": (1, 1, 2), "norm.weight": (2,)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty home and an empty torch cache."""
    return load_settings({"SEMSIGHT_HOME": str(tmp_path / "home"), "TORCH_HOME": str(tmp_path / "torch")})


def published(path: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> WeightsRecord:
    """A record of the file at `path`, with its whole checksum, in the registry."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record = WeightsRecord("tiny", "A tiny network", SHAPES, path.as_uri(), digest, "none", 1, False, "safetensors")
    record = replace(record, **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(weights_module.WEIGHTS, record.name, record)
    return record


def tensors() -> dict[str, torch.Tensor]:
    return {"cls_token": torch.arange(2.0).reshape(1, 1, 2), "norm.weight": torch.ones(2)}


def test_safetensors_are_taken_as_they_are(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    published(path, monkeypatch)
    seen: list[tuple[int, int | None]] = []
    found = find_weights("tiny", settings, download=True, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(found, FoundWeights)
    assert found.path.read_bytes() == path.read_bytes()
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert seen == [(path.stat().st_size, path.stat().st_size)]
    assert [entry.name for entry in settings.weights.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "changed", "other layers"])
def test_safetensors_that_are_not_those_leave_nothing(
    damage: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors() if damage != "other layers" else {"cls_token": torch.zeros(1, 1, 2)}, path)
    published(path, monkeypatch)
    data = path.read_bytes()
    if damage != "other layers":
        path.write_bytes(data[:-3] if damage == "cut" else data[:-1] + b"!")
    missing = find_weights("tiny", settings, download=True)
    assert isinstance(missing, MissingWeights)
    assert ("does not hold" if damage == "other layers" else "checksum") in missing.reason
    assert list(settings.weights.iterdir()) == []


def test_without_a_published_checksum_nothing_is_fetched(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    record = published(path, monkeypatch, sha256="", cached=True)
    assert settings.torch_cache is not None
    settings.torch_cache.mkdir(parents=True)
    (settings.torch_cache / record.file).write_bytes(path.read_bytes())  # nothing says that this is the right file
    missing = find_weights("tiny", settings, download=True)
    assert isinstance(missing, MissingWeights)
    assert "by hand" in missing.reason
    assert record.url in missing.reason
    assert "tiny.safetensors" in missing.reason
    settings.weights.mkdir(parents=True)
    (settings.weights / "tiny.safetensors").write_bytes(path.read_bytes())
    found = find_weights("tiny", settings)
    assert isinstance(found, FoundWeights)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


class _Archive(nn.Module):
    """Modules and parameters nested as the names say, in half precision, as OpenAI stores them."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in state.items():
            module: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, nn.Parameter(tensor.half(), requires_grad=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def openai_state(depth: int, width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """The names of OpenAI's ViT-B/32 (clip/model.py: VisionTransformer), at a toy size, with some of the text half."""
    shapes: dict[str, tuple[int, ...]] = {
        "text_projection": (width, 3),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (5, width),
        "visual.proj": (width, 3),
        "visual.conv1.weight": (width, 3, 2, 2),
        "transformer.resblocks.0.ln_1.weight": (width,),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"visual.{norm}.weight": (width,), f"visual.{norm}.bias": (width,)}
    for block in (f"visual.transformer.resblocks.{i}" for i in range(depth)):
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        for layer, after, before in (
            ("attn.out_proj", width, width),
            ("mlp.c_fc", 4 * width, width),
            ("mlp.c_proj", width, 4 * width),
        ):
            shapes |= {f"{block}.{layer}.weight": (after, before), f"{block}.{layer}.bias": (after,)}
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def test_openai_archive_is_converted_as_timm_converts_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm.models.vision_transformer as peer

    state = openai_state(depth=2, width=4, generator=torch.Generator().manual_seed(0))
    expected = {key: value.float() for key, value in peer._convert_openai_clip(state, None).items()}
    path = tmp_path / "ViT-B-32.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out; OpenAI publishes nothing else
        torch.jit.save(torch.jit.trace(_Archive(state), torch.zeros(1)), path)
    shapes = {key: tuple(value.shape) for key, value in expected.items()}
    published(path, monkeypatch, shapes=shapes, layout="clip")
    found = find_weights("tiny", settings, download=True)
    assert isinstance(found, FoundWeights), found
    tensors = load_file(found.path)
    assert tensors.keys() == expected.keys()
    for key, value in tensors.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[key].half().float()), key
    # the toy and the true network differ in sizes only
    names = {key.replace("blocks.1.", "blocks.11.") for key in expected}
    assert names <= WEIGHTS["clip-vitb32"].shapes.keys()


def test_another_archive_under_that_name_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ViT-B-32.pt"
    for data, word in ((b"no archive", "cannot be read"), (None, "does not hold")):
        if data is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                torch.jit.save(torch.jit.trace(_Archive({"visual.other": torch.zeros(2)}), torch.zeros(1)), path)
        else:
            path.write_bytes(data)
        published(path, monkeypatch, layout="clip")
        missing = find_weights("tiny", settings, download=True)
        assert isinstance(missing, MissingWeights)
        assert word in missing.reason
        assert list(settings.weights.iterdir()) == []


@pytest.mark.parametrize("model", ["vit_small_patch16_224.dino", "vit_base_patch32_clip_quickgelu_224.openai"])
def test_tables_fit_timm(model: str) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model(model, pretrained=False).state_dict()
    record = WEIGHTS["dino-vits16" if "dino" in model else "clip-vitb32"]
    assert record.shapes == {key: tuple(tensor.shape) for key, tensor in state.items()}


def test_download_that_breaks_off_leaves_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaks(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"0123456789")

        def log_message(self, *args: object) -> None:
            pass

    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    published(path, monkeypatch)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Breaks) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        missing = find_weights("tiny", settings, download=True, url=f"http://127.0.0.1:{server.server_port}/m")
        server.shutdown()
        thread.join()
    assert isinstance(missing, MissingWeights)
    assert "broke off after 10 of 1,000 bytes" in missing.reason
    assert list(settings.weights.iterdir()) == []
