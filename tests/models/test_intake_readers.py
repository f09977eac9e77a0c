"""Whatever bytes come, the readers answer with a header or a UserError; and what they take in is right."""

import io
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from core.errors import UserError
from core.models.build import build_model
from core.models.intake_child import read_header
from core.models.intake_compare import fit
from core.models.intake_records import RECIPES, Expected, Header, Limits
from core.models.intake_state import is_dense
from core.models.intake_tensors import read_tensors
from core.models.spec import ModelSpec
from tests.models import intake_cases as cases
from tests.models.intake_files import LENET, good_safetensors, good_state

SMALL = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, dtype=np.int64)}
GOOD = {"victim.pt": good_state(SMALL), "victim.safetensors": good_safetensors(SMALL, {"format": "pt"})}


def header_of(data: bytes, filename: str = "victim.pt") -> Header:
    return read_header(io.BytesIO(data), len(data), filename, Limits())


def tensors_of(data: bytes, filename: str = "victim.pt") -> dict[str, torch.Tensor]:
    return read_tensors(io.BytesIO(data), header_of(data, filename), filename)


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def never_anything_but_a_user_error(data: bytes, filename: str) -> None:
    try:
        header = header_of(data, filename)
    except UserError as error:
        header, sentence = None, str(error)
    if header is None:
        assert sentence.startswith(filename)
    else:  # what is accepted lies within the file
        assert all(entry.start >= 0 and entry.start + entry.size <= len(data) for entry in header.entries)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(sorted(GOOD)), st.sampled_from([b"", b"PK\3\4", b"\x80\x02", b"{"]))
@example(b"{" * 9, "victim.safetensors", b"")
def test_random_bytes_never_break_the_readers(data: bytes, filename: str, start: bytes) -> None:
    never_anything_but_a_user_error(start + data, filename)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_mutated_files_never_break_the_readers(filename: str, draw: st.DataObject) -> None:
    data = bytearray(GOOD[filename])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    never_anything_but_a_user_error(bytes(data[: draw.draw(st.integers(0, len(data)))]), filename)
    never_anything_but_a_user_error(bytes(data), filename)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_pickles_never_break_the_reader(draw: st.DataObject) -> None:
    # The zip around it is made anew, so that checksums are right and the pickle itself is reached.
    one = cases.f.table((cases.f.text("w"), cases.f.tensor("0", 4, (2, 2), (2, 1))))
    pickle = bytearray(cases.f.pickle(one))
    for _ in range(draw.draw(st.integers(1, 5))):
        pickle[draw.draw(st.integers(0, len(pickle) - 1))] = draw.draw(st.integers(0, 255))
    never_anything_but_a_user_error(cases.f.archive({"data.pkl": bytes(pickle), "data/0": bytes(16)}), "victim.pt")


def test_every_cut_of_a_good_file_is_refused() -> None:
    for filename, data in GOOD.items():
        for length in range(len(data)):
            with pytest.raises(UserError):
                header_of(data[:length], filename)


def test_torch_and_safetensors_read_the_same_numbers() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    state = model.state_dict()
    for data, filename in ((saved(state), "victim.pt"), (save_safetensors(state), "victim.safetensors")):
        found = tensors_of(data, filename)
        assert found.keys() == state.keys()
        for key, value in state.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)


def test_channels_last_and_views_of_one_storage_are_read_in_the_right_order() -> None:
    weight = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
    base = torch.arange(12, dtype=torch.float32)
    data = saved({"a": weight.to(memory_format=torch.channels_last), "b": weight[1], "c": base[6:], "d": base})
    found = tensors_of(data)
    assert torch.equal(found["a"], weight)
    assert found["a"].is_contiguous()
    assert torch.equal(found["b"], weight[1])
    assert torch.equal(found["c"], base[6:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32_and_the_notes_say_so(dtype: torch.dtype) -> None:
    value = torch.tensor([1.5, -2.25, 0.0], dtype=dtype)  # exact in all four formats
    data = saved({"w": value})
    found = tensors_of(data)["w"]
    assert found.dtype == torch.float32
    assert found.tolist() == [1.5, -2.25, 0.0]
    fitted = fit(header_of(data), {"w": Expected("F32", (3,))}, LENET, "victim.pt")
    assert fitted.notes == (f"Numbers in {str(dtype).removeprefix('torch.')} were converted to float32.",)


def test_nested_state_dict_and_prefix_are_accepted_and_noted() -> None:
    checkpoint = {"epoch": 3, "best": 0.5, "state_dict": {"module.w": torch.ones(2)}, "names": ["a", None, True]}
    header = header_of(saved(checkpoint))
    assert header.notes == ("The state dict was found under 'state_dict'; 3 other entries were dropped.",)
    fitted = fit(header, {"w": Expected("F32", (2,))}, LENET, "victim.pt")
    assert [entry.name for entry in fitted.entries] == ["w"]
    assert "DataParallel" in fitted.notes[1]


def test_parameters_and_cuda_locations_are_read_as_plain_tensors() -> None:
    model = torch.nn.Linear(3, 2)
    found = tensors_of(saved(dict(model.named_parameters())))
    assert torch.equal(found["weight"], model.weight)
    on_gpu = cases.f.one_tensor((4,), (1,), location="cuda:0")
    assert tensors_of(on_gpu)["w"].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "strides", "dense"),
    [
        ((2, 3), (3, 1), True),
        ((2, 3), (1, 2), True),  # transposed: still each number once
        ((1, 3), (77, 1), True),  # the stride of a side of 1 means nothing
        ((), (), True),
        ((4,), (0,), False),
        ((4,), (2,), False),
        ((2, 2), (1, 1), False),
    ],
)
def test_dense(shape: tuple[int, ...], strides: tuple[int, ...], dense: bool) -> None:
    assert is_dense(shape, strides) is dense
    # A second opinion: the offsets of all elements are exactly 0, 1, …, n - 1.
    offsets = sorted(int(np.dot(index, strides)) if shape else 0 for index in np.ndindex(*shape))
    assert (offsets == list(range(math.prod(shape)))) is dense


def convertible(kind: str, folder: Path) -> dict[str, torch.Tensor]:
    """Write model.pt (or .pt2) in a format that is refused; return the state dict that conversion must give."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's end is announced
        if kind == "module":
            torch.save(model, folder / "model.pt")
        elif kind == "torchscript":
            torch.jit.save(torch.jit.script(model), folder / "model.pt")
        elif kind == "exported":
            torch.export.save(torch.export.export(model, (torch.zeros(1, 3),)), folder / "model.pt2")
        else:
            torch.save(model.state_dict(), folder / "model.pt", _use_new_zipfile_serialization=False)
    return model.state_dict()


@pytest.mark.parametrize("kind", ["module", "torchscript", "exported", "state"])
def test_the_two_lines_convert_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    state = convertible(kind, tmp_path)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("\n".join(RECIPES[kind]), {})
    found = tensors_of((tmp_path / "model-weights.pt").read_bytes())
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("kind", ["tar", "onnx"])  # torch cannot write the one any more, onnx is not installed
def test_the_other_lines_are_python(kind: str) -> None:
    assert len(RECIPES[kind]) == 2
    compile("\n".join(RECIPES[kind]), "recipe", "exec")


def test_every_architecture_of_ours_comes_back_from_its_own_state_dict() -> None:
    for architecture in ("mlp", "lenet"):
        spec = ModelSpec(architecture, 4)
        state = build_model(spec).state_dict()
        data = save_safetensors(state)
        expected = {key: Expected("F32", tuple(value.shape)) for key, value in state.items()}
        fitted = fit(header_of(data, "victim.safetensors"), expected, spec, "victim.safetensors")
        assert [entry.name for entry in fitted.entries] == list(state)
        assert load_safetensors(data).keys() == state.keys()
