"""What a file of weights is, by its first bytes; its name only has to agree."""

from core.errors import UserError
from core.models.intake_records import NeedsConversion

ENDINGS = {"safetensors": (".safetensors",), "zip": (".pt", ".pth")}
HEAD_BYTES = 512
LEGACY = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # torch.save's magic number, as a pickle writes it
FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x8b": "a gzip file",
    b"GIF8": "a GIF picture",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
    b"\x7fELF": "a program",
    b"%PDF": "a PDF",
    b"PK\5\6": "an empty zip file",
}
TRUSTED = "nothing was run; convert a model that you made or trust where you trained it:"


def kind_of(head: bytes, name: str) -> str:
    """ "safetensors" or "zip"; raise NeedsConversion or UserError for all else. head: the first 512 bytes."""
    lower = name.lower()
    kind = _kind(head)
    if kind in ENDINGS:
        # A .pt2 is a zip too, and is told apart by what it holds.
        if lower.endswith(ENDINGS[kind]) or (kind == "zip" and lower.endswith(".pt2")):
            return kind
        wanted = " or ".join(ENDINGS[kind])
        raise UserError(
            f"{name} holds {'safetensors' if kind == 'safetensors' else 'a zip file'}, which its name does not say: "
            f"give it the ending {wanted} if it is a model's weights."
        )
    if kind in ("pickle", "legacy"):
        what = "is in torch's legacy format" if kind == "legacy" else "is a bare pickle"
        raise NeedsConversion(
            f"{name} {what}, which runs code when it is read, where a zip-format state dict or safetensors is "
            f"expected: {TRUSTED}",
            "state" if kind == "legacy" else "module",
        )
    if kind == "tar":
        raise NeedsConversion(
            f"{name} is a tar file, as torch wrote before 2018, where a zip-format state dict or safetensors is "
            f"expected: {TRUSTED}",
            "tar",
        )
    if kind == "onnx" or lower.endswith(".onnx"):
        raise NeedsConversion(
            f"{name} is an ONNX graph, where a state dict is expected: names must be made those of the architecture; "
            f"{TRUSTED}",
            "onnx",
        )
    what = f"is {kind}" if kind else "is neither safetensors nor a zip-format state dict"
    raise UserError(
        f"{name} {what}, where a model's weights are expected: upload a .safetensors file, or a .pt or .pth file "
        "saved with torch.save(model.state_dict(), …)."
    )


def _kind(head: bytes) -> str:
    if head.startswith(b"PK\3\4"):
        return "zip"
    if len(head) > 9 and head[8:9] == b"{" and not head.startswith(tuple(FOREIGN)):
        return "safetensors"
    if len(head) > 2 and head[0] == 0x80 and head[1] <= 5:
        return "legacy" if head[2:].startswith(LEGACY) else "pickle"
    if head[257:262] == b"ustar":
        return "tar"
    if len(head) > 2 and head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x1A, 0x3A):  # ModelProto.ir_version
        return "onnx"
    return next((words for start, words in FOREIGN.items() if head.startswith(start)), "")
