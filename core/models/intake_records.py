"""What the steps of the weights intake hand to each other. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import UserError

# Number formats by the names that safetensors gives them, in bytes. Only those of ACCEPTED are taken in.
ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
    "C128": 16,
}
FLOATS = ("F32", "F16", "BF16", "F64")  # the last three are converted to the first, and the notes say so
ACCEPTED = (*FLOATS, "I64")  # I64: BatchNorm's counters
MAX_RANK = 8
MAX_SIDE = 2**32


@dataclass(frozen=True)
class Limits:
    """How much a file of weights may cost. The child process is confined to them."""

    file_bytes: int = 2**30  # the whole file
    tensors: int = 10_000  # also the records of a zip
    header_bytes: int = 4 * 2**20  # JSON of safetensors, pickle and directory of a zip
    seconds: float = 120.0  # wall clock of the child
    cpu_seconds: int = 90  # processor time of the child
    address_bytes: int = 6 * 2**30  # address space beside 8 times the file; importing torch takes about 4 GiB of it


@dataclass(frozen=True)
class Entry:
    """One tensor as a header tells it: `start` is the file offset of its first byte, strides count elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int

    @property
    def numbers(self) -> int:
        """How many elements."""
        total = 1
        for side in self.shape:
            total *= side
        return total

    @property
    def size(self) -> int:
        """Bytes of the dense tensor."""
        return self.numbers * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Header:
    """All tensors of a file, and what was left out or set right on the way."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """One tensor of the architecture's state dict."""

    dtype: str
    shape: tuple[int, ...]


class NeedsConversion(UserError):
    """A model in a format that is not taken in; `lines` are the two lines of Python that convert it."""

    def __init__(self, sentence: str, recipe: str) -> None:
        self.sentence = sentence
        self.recipe = recipe
        self.lines = RECIPES[recipe]
        indented = "\n".join(f"    {line}" for line in self.lines)
        super().__init__(f"{sentence}\n\n{indented}")


# Each reads model.pt (or what the format calls it) where the user trusts it, and leaves a file that is taken in.
RECIPES: Mapping[str, tuple[str, str]] = {
    "module": (
        "import torch",
        'torch.save(torch.load("model.pt", weights_only=False).state_dict(), "model-weights.pt")',
    ),
    "state": ("import torch", 'torch.save(torch.load("model.pt"), "model-weights.pt")'),
    "tar": ("import torch", 'torch.save(torch.load("model.pt", weights_only=False), "model-weights.pt")'),
    "torchscript": (
        "import torch",
        'torch.save(torch.jit.load("model.pt", map_location="cpu").state_dict(), "model-weights.pt")',
    ),
    "exported": ("import torch", 'torch.save(torch.export.load("model.pt2").state_dict, "model-weights.pt")'),
    "onnx": (
        "import onnx, onnx.numpy_helper as helper, safetensors.numpy",
        "safetensors.numpy.save_file({t.name: helper.to_array(t) for t in "
        'onnx.load("model.onnx").graph.initializer}, "model.safetensors")',
    ),
}


@dataclass(frozen=True)
class Layer:
    """One tensor of the state dict that was taken in."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # float32 or int64
    numbers: int
    trained: bool  # a parameter; False for a buffer such as BatchNorm's running mean


@dataclass(frozen=True)
class Request:
    """What the child is asked: kept as JSON beside its temporary folder."""

    name: str
    spec: str  # ModelSpec JSON
    limits: Limits = field(default_factory=Limits)
