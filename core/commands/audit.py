"""`python -m core audit`: attack a model on images, score what comes back, write it all to a folder. Needs no store."""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import UserError

HELP = "Attack a model's updates, score the reconstructions and write everything to a folder."
EXAMPLES = """examples:
  python -m core audit --model lenet --images lfw --limit 8 --attack dlg --seed 0 --out out
  python -m core audit --model convnet-narrow --images photos --attack inverting-gradients --set steps=300 --out out
  python -m core audit --weights victim.safetensors --architecture resnet20-4 --num-classes 100 \\
      --images my_pictures/ --labels labels.csv --attack inverting-gradients --out out

what it writes:
  out/originals/NAME.png         the very pixels whose update was shared
  out/reconstructions/NAME.png   what the attack made of the update (the restart that it chose itself)
  out/controls/ROLE/NAME.png     the same attack with a mismatched gradient, and with its prior alone
  out/scores.csv                 one row a reconstruction; `seconds` is its share of its shard's time
  out/run.json                   everything needed to run it again
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of DESIGN.md's command line."""
    model = parser.add_argument_group("the model")
    model.add_argument("--model", metavar="NAME", help="a preset, such as lenet or convnet-faces")
    model.add_argument("--weights", type=Path, metavar="FILE", help="safetensors or state dict of your own model")
    model.add_argument("--architecture", metavar="NAME", help="the architecture of --weights")
    model.add_argument("--num-classes", type=int, metavar="N", help="classes of --weights, or of an untrained preset")
    model.add_argument("--size", type=int, metavar="PX", help="height and width of its input (default: 32)")
    model.add_argument("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for colour (default: 3)")
    model.add_argument("--mean", metavar="R,G,B", help="normalisation mean, one number a channel")
    model.add_argument("--std", metavar="R,G,B", help="normalisation standard deviation, one number a channel")
    images = parser.add_argument_group("the images")
    images.add_argument("--images", required=True, metavar="SET|FOLDER", help="lfw, photos, or a folder of images")
    images.add_argument("--labels", type=Path, metavar="FILE.csv", help="columns name and label")
    images.add_argument("--limit", type=int, metavar="N", help="use the first N images")
    threat = parser.add_argument_group("the threat model")
    threat.add_argument("--batch-size", type=int, default=1, metavar="B", help="images an update (default: 1)")
    threat.add_argument("--batchnorm", choices=("eval", "train"), default="eval", help="its mode in the victim's step")
    threat.add_argument("--label-knowledge", choices=("known", "inferred"), default="known", help="granted or not")
    threat.add_argument("--defence", default="none", metavar="NAME", help="defence on the update (default: none)")
    attack = parser.add_argument_group("the attack")
    attack.add_argument("--attack", required=True, metavar="NAME", help="such as dlg or inverting-gradients")
    attack.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one of its settings")
    attack.add_argument("--controls", type=int, default=2, metavar="N", help="updates attacked again as controls")
    attack.add_argument("--seed", type=int, default=0)
    attack.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")


@dataclass(frozen=True)
class Victim:
    """The model as it was asked for."""

    name: str
    spec: Any  # ModelSpec
    weights: bytes | None


def run(arguments: argparse.Namespace) -> int:
    """Attack, score, write; 0 when every reconstruction was made and written."""
    from core.commands import audit_output, audit_run
    from core.images.load import load_images
    from core.jobs.compose import AttackRequest, check
    from core.leakage.threat import ThreatModel

    if arguments.defence != "none":
        raise UserError(f"There is no defence called {arguments.defence[:80]!r}; this version knows only none.")
    audit_output.check_folder(arguments.out)
    victim = _victim(arguments)
    source = arguments.images
    prepared = load_images(
        source, spec=victim.spec, limit=arguments.limit, seed=arguments.seed, labels=arguments.labels
    )
    request = AttackRequest(
        victim.spec,
        victim.name,
        victim.weights,
        Path(source).name,
        tuple(prepared),
        arguments.attack,
        _settings(arguments.set),
        ThreatModel(arguments.batch_size, arguments.batchnorm, arguments.label_knowledge),
        arguments.seed,
        min(arguments.controls, len(prepared) // max(1, arguments.batch_size)),
        arguments.device,
    )
    check(request)
    result = audit_run.attack_and_score(request, bar=sys.stderr.isatty())
    audit_output.write(arguments.out, request, result, asdict(request.threat))
    for line in audit_output.summary(result):
        print(line)
    return 0


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set takes KEY=VALUE, such as steps=300, not {pair[:80]!r}.")
        settings[key.strip()] = value.strip()
    return settings


def _victim(arguments: argparse.Namespace) -> Victim:
    """A preset with its changes, or the user's own weights after intake."""
    from core.jobs.compose import preset_model
    from core.models.spec import ModelSpec

    if (arguments.model is None) == (arguments.weights is None):
        raise UserError("Give either --model NAME for a preset, or --weights FILE with --architecture for your own.")
    changes = _changes(arguments)
    if arguments.model is not None:
        spec, weights = preset_model(arguments.model)
        if weights is not None and changes:
            raise UserError(
                f"The preset {arguments.model} is trained, so its {', '.join(sorted(changes))} cannot be changed."
            )
        return Victim(arguments.model, _with_channels(spec, changes), weights)
    if arguments.architecture is None or arguments.num_classes is None:
        raise UserError("--weights needs --architecture NAME and --num-classes N, to know what the numbers mean.")
    from core.models.intake import take_in_weights

    if not arguments.weights.is_file():
        raise UserError(f"There is no file called {str(arguments.weights)[:200]!r}; give the path of the weights.")
    spec = _with_channels(ModelSpec(arguments.architecture, arguments.num_classes), changes)
    understood = take_in_weights(arguments.weights, arguments.weights.name, spec)
    for note in understood.notes:
        print(f"note: {note}", file=sys.stderr)
    return Victim(understood.name, understood.spec, understood.safetensors)


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if arguments.num_classes is not None:
        changes["num_classes"] = arguments.num_classes
    if arguments.size is not None:
        changes["height"] = changes["width"] = arguments.size
    if arguments.channels is not None:
        changes["channels"] = arguments.channels
    for name in ("mean", "std"):
        text = getattr(arguments, name)
        if text is not None:
            changes[name] = _numbers(text, name)
    return changes


def _with_channels(spec: Any, changes: dict[str, Any]) -> Any:
    """The spec with its changes; a mean or std that was not given follows the number of channels."""
    channels = changes.get("channels", spec.channels)
    if channels != spec.channels:
        changes = {"mean": (0.0,) * channels, "std": (1.0,) * channels} | changes
    return replace(spec, **changes)


def _numbers(text: str, name: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(
            f"--{name} takes numbers separated by commas, such as 0.5,0.5,0.5, not {text[:80]!r}."
        ) from error
