"""`python -m core datasets`: which data sets there are, get them, and draw samples that can be shared."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import UserError

HELP = "List data sets, download them, and draw samples of them that can be shared."
EXAMPLES = """examples:
  python -m core datasets list
  python -m core datasets show cifar100
  python -m core datasets download cifar100 --accept-licence
  python -m core datasets sample cifar100 --part test --per-class 6 --seed 0 --out originals.csv
  python -m core datasets sample folder:my_pictures --count 20 --classes cat,dog --out originals.csv --export originals/

data sets: the names of `list`; celeba:Smiling for an attribute as the class; lfw-people:10 for people with at least 10
pictures; folder:PATH for a folder of class folders; parquet:PATH for a Parquet file of images or a folder of shards.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done and its arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="one line a data set: there, differs, by hand or missing; size, images, classes")
    for name, words in (
        ("show", "what it is, its licence, its files and how to get them"),
        ("download", "get its files"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("name", metavar="NAME")
    action.add_argument("--accept-licence", action="store_true", help="you have read the licence and accept it")
    sample = actions.add_parser("sample", help="draw images; write their names as a list, and the images if wanted")
    sample.add_argument("name", metavar="NAME")
    sample.add_argument("--part", choices=("train", "test"), default="test", help="test is held out (default)")
    sample.add_argument("--count", type=int, metavar="N", help="images in all")
    sample.add_argument("--per-class", type=int, metavar="N", help="images of each class")
    sample.add_argument("--classes", metavar="A,B", help="only these classes, by name")
    sample.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    sample.add_argument("--split-seed", type=int, default=0, help="of the split that nobody makes (default: 0)")
    sample.add_argument("--held-out", type=float, default=0.2, help="share of a set that nobody splits (default: 0.2)")
    sample.add_argument("--out", type=Path, required=True, metavar="LIST.csv", help="the list to write")
    sample.add_argument(
        "--export", type=Path, metavar="FOLDER", help="also write the images as PNG, one folder a class"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do the action; 0 when it was done."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "download": _download,
        "sample": _sample,
    }
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    from core.images.datasets import DATASETS, difference
    from core.settings import load_settings
    from core.storage.space import size_words

    settings = load_settings()
    for name, record in DATASETS.items():
        size = "" if record.bundled else size_words(record.bytes)
        print(
            f"{name:<14} {_state(record, settings):<8} {size:>10} {record.images:>8,} images {record.classes:>6,} "
            f"classes  {record.title}. {difference(name, settings)}".rstrip(". ")
        )
    return 0


def _state(record: Any, settings: Any) -> str:
    """There, differs (from the publisher's file), by hand or missing."""
    from core.images.datasets import difference, is_here

    if difference(record.name, settings):
        return "differs"
    if record.bundled or is_here(record.name, settings):
        return "there"
    return "by hand" if record.by_hand else "missing"


def _show(arguments: argparse.Namespace) -> int:
    from core.images.datasets import how_to_place, missing_files, record_of
    from core.images.download import verify
    from core.settings import load_settings
    from core.storage.space import size_words

    settings, record = load_settings(), record_of(arguments.name)
    print(f"{record.title}: {record.summary}")
    print(f"licence: {record.licence}")
    print(f"split: {record.split}")
    print(f"a victim's input: {record.channels} channels, {record.size}×{record.size} pixels")
    if record.bundled:
        return 0
    print(f"homepage: {record.homepage}")
    missing = missing_files(arguments.name, settings)
    for file in record.files:
        state = "missing" if file in missing else "there"
        print(f"{state:<8} {file.name}  {size_words(file.bytes)}  {file.checksum}  {file.url or 'by hand only'}")
        if file.instead:
            print(f"         or instead of it: {', '.join(file.instead)}")
    if record.by_hand:
        print(f"It cannot be downloaded: {record.by_hand}.")
    print(how_to_place(arguments.name, settings))
    for fault in verify(arguments.name, settings):
        print(f"note: {fault}")
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from core.images.datasets import missing_files, record_of
    from core.images.download import download_dataset, verify
    from core.settings import load_settings

    settings, record = load_settings(), record_of(arguments.name)
    print(f"{record.title}. Licence: {record.licence}")
    if record.homepage:
        print(f"The publisher's own words: {record.homepage}", flush=True)
    if not arguments.accept_licence and missing_files(arguments.name, settings):
        raise UserError(
            f"Read the licence of {record.title} above; if you accept it, run this again with --accept-licence."
        )
    with _bar(record.name) as progress:
        paths = download_dataset(arguments.name, settings, progress=progress)
    for path in paths:
        print(f"downloaded {path}")
    if not paths:
        print("Everything is there already.")
    faults = verify(arguments.name, settings)
    if faults:
        raise UserError(" ".join(faults))
    return 0


def _sample(arguments: argparse.Namespace) -> int:
    from core.commands.output import write_text
    from core.images.dataset import DataChoice
    from core.images.datasets import open_dataset
    from core.images.sampling import choose, write_list
    from core.settings import load_settings

    if arguments.count is None and arguments.per_class is None:
        raise UserError("Say how many images: --count N in all, or --per-class N of each class.")
    dataset = open_dataset(arguments.name, load_settings())
    choice = DataChoice(
        arguments.name,
        part=arguments.part,
        count=arguments.count,
        per_class=arguments.per_class,
        classes=tuple(part.strip() for part in (arguments.classes or "").split(",") if part.strip()),
        seed=arguments.seed,
        held_out=arguments.held_out,
        split_seed=arguments.split_seed,
    )
    places = choose(dataset, choice)
    if arguments.export is not None:
        _export(dataset, places, arguments.export)
    write_text(arguments.out, write_list(dataset, choice))
    print(f"{len(places):,} images of {dataset.title} are listed in {arguments.out}.")
    return 0


def _export(dataset: Any, places: tuple[int, ...], folder: Path) -> None:
    """Write the pictures as FOLDER/CLASS/NAME.png; the folder must be new or empty."""
    from PIL import Image

    from core.commands.output import replacing
    from core.names import safe_name

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and not empty; name a new folder.")
    for place in places:
        (picture,) = dataset.pictures([place])
        with replacing(folder / safe_name(picture.class_name) / f"{picture.name}.png") as file:
            Image.fromarray(picture.pixels).save(file, "PNG")


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """What a download calls as it goes: a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
