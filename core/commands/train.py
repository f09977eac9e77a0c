"""`python -m core train`: train a victim on a data set, into a folder or into the store."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError

if TYPE_CHECKING:
    from core.jobs.training import TrainRequest
    from core.models.training.recipe import Recipe
    from core.settings import Settings

HELP = "Train a victim on a data set, into a folder or as a model of the store."
EXAMPLES = """examples:
  python -m core train --model convnet --data cifar100 --out victim
  python -m core train --model convnet --arguments base=8 --data cifar100 --per-class 50 --set epochs=20 --out victim
  python -m core train --model convnet-gn --data cifar10 --set defence=dp-sgd --set dp_noise=1.1 --out private
  python -m core train --model lenet --data folder:pets --recipe none --set keep_epochs=1,10,50
  python -m core train --list-recipes

with --out (the same command goes on from where it was stopped or killed):
  victim/model.safetensors        the last weights; epoch-N.safetensors those of keep_epochs
  victim/model.json               what the weights are of (its spec), how they came about, and how well they do
  victim/curve.csv                one row an epoch
without --out the training is a job of the store (SEMSIGHT_HOME): a runner that lives does it, else this command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    model = parser.add_argument_group("the model")
    model.add_argument("--model", metavar="NAME", help="an untrained preset or an architecture, such as convnet")
    model.add_argument("--arguments", action="append", metavar="KEY=VALUE", help="of its architecture, such as base=8")
    model.add_argument("--size", type=int, metavar="PX", help="height and width of its input (default: the data's)")
    model.add_argument("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for colour (default: the data's)")
    data = parser.add_argument_group("the data")
    data.add_argument("--data", metavar="SET", help="such as cifar100, lfw, folder:PATH or parquet:PATH")
    data.add_argument("--classes", metavar="A,B,…", help="only these classes")
    data.add_argument("--per-class", type=int, metavar="N", help="train on N images of each class")
    data.add_argument("--count", type=int, metavar="N", help="train on N images in all")
    data.add_argument("--data-seed", type=int, default=0, metavar="N", help="of the draw (default: 0)")
    data.add_argument(
        "--split-seed", type=int, default=0, metavar="N", help="of what is held out where nobody splits (default: 0)"
    )
    how = parser.add_argument_group("how it is trained")
    how.add_argument("--recipe", metavar="NAME", help="one of --list-recipes (default: crop+flip)")
    how.add_argument("--set", action="append", metavar="KEY=VALUE", help="change one setting of the recipe")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    how.add_argument("--out", type=Path, metavar="DIR", help="folder to write to; without it: the store")
    parser.add_argument("--list-recipes", action="store_true", help="show the recipes and every setting, and end")


def run(arguments: argparse.Namespace) -> int:
    """Do it; 0 only when the training is done."""
    from core.settings import load_settings

    if arguments.list_recipes:
        for line in recipe_lines():
            print(line)
        return 0
    settings = load_settings()
    request = _request(arguments, settings)
    if arguments.out is not None:
        from core.commands.train_folder import train_into

        return train_into(arguments.out, request, settings)
    from core.commands.train_store import train_in_store

    return train_in_store(request, settings)


def recipe_lines() -> list[str]:
    """The recipes with what each changes, then every setting with its default and its meaning."""
    import dataclasses

    from core.models.training.recipe import PAPER_RECIPES, Recipe

    plain = Recipe()
    lines = ["recipes of the paper's CIFAR-100 study:"]
    for name, recipe in PAPER_RECIPES.items():
        changes = {k: v for k, v in recipe.to_dict().items() if v != getattr(plain, k)}
        said = ", ".join(f"{key}={value}" for key, value in changes.items()) or "the settings below as they are"
        lines.append(f"  {name:<20} {said}")
    lines.append("settings:")
    for field in dataclasses.fields(Recipe):
        choices = field.metadata["choices"]
        among = f" ({', '.join(choices)})" if choices else ""
        lines.append(f"  {field.name}={field.default}  {field.metadata['help']}{among}")
    return lines


def _request(arguments: argparse.Namespace, settings: "Settings") -> "TrainRequest":
    from core.images.dataset import DataChoice
    from core.jobs.training import TrainRequest, as_started, victim_spec

    for name, what in (("model", "NAME, what to train"), ("data", "SET, what to train it on")):
        if getattr(arguments, name) is None:
            raise UserError(f"--{name} is missing: --{name} {what}.")
    spec = victim_spec(
        arguments.model,
        arguments.data,
        settings,
        size=arguments.size,
        channels=arguments.channels,
        arguments={key: _value(text) for key, text in _pairs(arguments.arguments, "arguments", "base=8").items()},
    )
    classes = tuple(part.strip() for part in (arguments.classes or "").split(",") if part.strip())
    choice = DataChoice(
        dataset=arguments.data,
        count=arguments.count,
        per_class=arguments.per_class,
        classes=classes,
        seed=arguments.data_seed,
        split_seed=arguments.split_seed,
    )
    recipe = _recipe(arguments)
    return TrainRequest(as_started(spec, recipe), arguments.model, choice, recipe, arguments.device)


def _recipe(arguments: argparse.Namespace) -> "Recipe":
    from core.models.training.recipe import PAPER_RECIPES, Recipe
    from core.registry import look_up

    base = Recipe() if arguments.recipe is None else look_up(PAPER_RECIPES, arguments.recipe, "recipe")
    return Recipe.from_dict({**base.to_dict(), **_pairs(arguments.set, "set", "epochs=20")})


def _pairs(given: list[str] | None, flag: str, example: str) -> dict[str, str]:
    found = {}
    for pair in given or []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--{flag} takes KEY=VALUE, such as {example}, not {pair[:80]!r}.")
        found[key.strip()] = value.strip()
    return found


def _value(text: str) -> Any:
    """A number, a list or a truth where it reads as one; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
