"""Make the real reconstructions of the Metrics page, assets/examples: `python -m benchmarks.make_examples`.

Three of the product's own attacks on bundled pictures, by the command line: one that is stopped early, one on an update
with noise, one that fails. The PNGs and a record (command, versions, checksum of each original) are written beside
each other. Numbers may differ in the last digits on another processor, and pixels with them.
"""

import argparse
import json
import platform
import shutil
import tempfile
from pathlib import Path

import torch

from core import __version__
from core.__main__ import main as command_line
from core.report.examples import ATTACKED, BASES, EXAMPLES

SETTINGS = {
    "early": ["--model", "lenet", "--attack", "dlg", "--set", "iterations=60"],
    "noisy": ["--model", "lenet", "--attack", "dlg", "--set", "iterations=200", "--defence", "gaussian:std=0.01"],
    "failed": ["--model", "convnet-narrow", "--attack", "inverting-gradients", "--set", "steps=500"],
}
COMMON = ["--limit", "4", "--seed", "0", "--device", "cpu", "--controls", "0"]


def main() -> None:
    """Attack, copy the reconstructions of the pictures that the page offers, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=EXAMPLES, help="folder to write (default: assets/examples)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    record: dict[str, object] = {
        "command": "python -m benchmarks.make_examples",
        "versions": {
            "semsight": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        "runs": [run(name, images, arguments.out) for name in ATTACKED for images in ("photos", "lfw")],
    }
    (arguments.out / "examples.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def run(name: str, images: str, out: Path) -> dict[str, object]:
    """One audit; its reconstructions of the offered pictures as PICTURE-NAME.png, and what the record says of it."""
    asked = ["audit", "--images", images, *SETTINGS[name], *COMMON]
    with tempfile.TemporaryDirectory() as folder:
        if command_line([*asked, "--out", folder]):
            raise SystemExit(f"The run {name} on {images} failed.")
        made = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
        offered = {base.picture for base in BASES if base.images == images}
        originals = {}
        for image, sha in zip(made["images"], made["original_pixels_sha256"], strict=True):
            if image["name"] in offered:
                source = Path(folder) / "reconstructions" / f"{image['name']}.png"
                shutil.copyfile(source, out / f"{image['name']}-{name}.png")
                originals[image["name"]] = sha
    return {"name": name, "command": " ".join(["python -m core", *asked]), "original_pixels_sha256": originals}


if __name__ == "__main__":
    main()
