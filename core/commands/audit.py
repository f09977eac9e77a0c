"""`python -m core audit`: attack a model on images, score what comes back, write it all to a folder. Needs no store."""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands.audit_threat import add_threat_arguments, threat_model
from core.commands.audit_victim import trained_choice, trained_victim
from core.errors import UserError

if TYPE_CHECKING:
    from core.jobs.compose import AttackRequest

HELP = "Attack a model's updates, score the reconstructions and write everything to a folder."
EXAMPLES = """examples:
  python -m core audit --model lenet --images lfw --limit 8 --attack dlg --seed 0 --out out
  python -m core audit --model convnet-narrow --images photos --attack inverting-gradients --set steps=300 --out out
  python -m core audit --weights victim.safetensors --architecture resnet20-4 --num-classes 100 \\
      --images my_pictures/ --labels labels.csv --attack inverting-gradients --out out
  python -m core audit --model lenet --images photos --limit 4 --attack dlg --update weights --batch-size 2 \\
      --local-epochs 2 --defence clip:norm=0.5 --defence gaussian:std=0.01 --out out
  python -m core audit --model lenet --num-classes 100 --images cifar100 --limit 8 --attack dlg --out out
  python -m core audit --again out/run.json --out out2
  python -m core audit --list-attacks
  python -m core audit --list-defences gaussian

what it writes:
  out/originals/NAME.png         the very pixels whose update was shared
  out/sources/NAME.png           the same before a defence on the input, where there was one
  out/reconstructions/NAME.png   what the attack made of the update (the restart that it chose itself)
  out/controls/ROLE/NAME.png     the same attack with a mismatched gradient, with its prior alone, and in the
                                 undefended easy case
  out/scores.csv                 one row a reconstruction; `seconds` is its share of its shard's time
  out/scores_source.csv          the same against the pictures before a defence on the input, where there was one
  out/run.json                   everything needed to run it again, with --again
"""
ALONE = ("again", "out", "device", "weights")  # what --again takes
PARSERS = ("command", "run")  # argparse's own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of DESIGN.md's command line. Defaults are set later: `--again` must know what was said."""
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model", metavar="NAME", help="a preset, such as lenet; trained:ID of the store; a folder of train"
    )
    model.add_argument("--weights", type=Path, metavar="FILE", help="safetensors or state dict of your own model")
    model.add_argument("--architecture", metavar="NAME", help="the architecture of --weights")
    model.add_argument("--num-classes", type=int, metavar="N", help="classes of --weights, or of an untrained preset")
    model.add_argument("--size", type=int, metavar="PX", help="height and width of its input (default: 32)")
    model.add_argument("--channels", type=int, choices=(1, 3), help="1 for grey, 3 for colour (default: 3)")
    model.add_argument("--mean", metavar="R,G,B", help="normalisation mean, one number a channel")
    model.add_argument("--std", metavar="R,G,B", help="normalisation standard deviation, one number a channel")
    images = parser.add_argument_group("the images")
    images.add_argument("--images", metavar="SET|FOLDER", help="lfw, photos, a data set, or a folder of images")
    images.add_argument(
        "--images-list", type=Path, metavar="FILE.csv", help="the images of a data set to take, by name"
    )
    images.add_argument("--labels", type=Path, metavar="FILE.csv", help="columns name and label")
    images.add_argument("--limit", type=int, metavar="N", help="use the first N images")
    add_threat_arguments(parser)
    attack = parser.add_argument_group("the attack")
    attack.add_argument("--attack", metavar="NAME", help="such as dlg or inverting-gradients; see --list-attacks")
    attack.add_argument("--set", action="append", metavar="KEY=VALUE", help="change one of its settings")
    attack.add_argument("--controls", type=int, metavar="N", help="updates attacked again as controls (default: 2)")
    attack.add_argument("--seed", type=int, help="of everything that is drawn (default: 0)")
    attack.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:1 (default: auto)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--again", type=Path, metavar="RUN.json", help="repeat the run that this file describes")
    for what in ("attacks", "defences"):
        said = f"print every one of the {what} with its settings, or NAME alone, and stop"
        parser.add_argument(f"--list-{what}", nargs="?", const="", metavar="NAME", help=said)


@dataclass(frozen=True)
class Victim:
    """The model as it was asked for."""

    name: str
    spec: Any  # ModelSpec
    weights: bytes | None


def run(arguments: argparse.Namespace) -> int:
    """Attack, score, write; 0 when every reconstruction was made and written."""
    from core.commands import audit_lists, audit_output, audit_run
    from core.jobs.compose import check
    from core.jobs.outlook import outlook

    if arguments.list_attacks is not None or arguments.list_defences is not None:
        for lines, name in (
            (audit_lists.attack_lines, arguments.list_attacks),
            (audit_lists.defence_lines, arguments.list_defences),
        ):
            for line in lines(name) if name is not None else ():
                print(line)
        return 0
    if arguments.out is None:
        raise UserError("--out DIR is missing: the folder to write to.")
    audit_output.check_folder(arguments.out)
    request = _again(arguments) if arguments.again is not None else _request(arguments)
    check(request)
    for sentence in outlook(request):
        print(f"note: {sentence}", file=sys.stderr)
    result = audit_run.attack_and_score(request, bar=sys.stderr.isatty())
    audit_output.write(arguments.out, request, result, result.payload["threat"])
    for line in audit_output.summary(result):
        print(line)
    return 0


def _again(arguments: argparse.Namespace) -> "AttackRequest":
    """The request of an earlier run; nothing of it can be changed by the way."""
    from core.commands.audit_again import request_again

    others = [name for name, value in vars(arguments).items() if value is not None and name not in (*ALONE, *PARSERS)]
    if others:
        flag = {"labels_known": "label-knowledge"}.get(others[0], others[0].replace("_", "-"))
        raise UserError(f"--again takes everything but --out and --device from the file; leave out --{flag}.")
    request, note = request_again(arguments.again, arguments.weights, arguments.device)
    if note:
        print(f"note: {note}", file=sys.stderr)
    return request


def _request(arguments: argparse.Namespace) -> "AttackRequest":
    """The request that the flags make."""
    from core.attacks import ATTACKS
    from core.images.load import load_images
    from core.jobs.compose import AttackRequest
    from core.registry import look_up

    for name, what in (("images", "SET|FOLDER, what to attack"), ("attack", "NAME, how; --list-attacks shows them")):
        if getattr(arguments, name) is None:
            raise UserError(f"--{name} is missing: --{name} {what}.")
    attack = look_up(ATTACKS, arguments.attack, "attack")
    threat = threat_model(arguments, attack)
    victim, seed = _victim(arguments), arguments.seed or 0
    prepared = load_images(
        arguments.images,
        spec=victim.spec,
        limit=arguments.limit,
        seed=seed,
        labels=arguments.labels,
        images_list=arguments.images_list,
    )
    _say_seen(arguments, [image.name for image in prepared])
    controls = 2 if arguments.controls is None else arguments.controls
    return AttackRequest(
        victim.spec,
        victim.name,
        victim.weights,
        Path(arguments.images).name,
        tuple(prepared),
        attack.name,
        _settings(arguments.set or []),
        threat,
        seed,
        min(controls, len(prepared) // max(1, threat.batch_size)),
        arguments.device or "auto",
    )


def _say_seen(arguments: argparse.Namespace, names: list[str]) -> None:
    """Whether a trained victim has learned from these very images."""
    from core.images.dataset import DataChoice
    from core.images.load import is_dataset
    from core.images.samples import SAMPLES
    from core.report.seen import seen_words
    from core.settings import load_settings

    known = None if arguments.model is None else trained_choice(arguments.model)
    if known is None:
        return
    settings, source = load_settings(), arguments.images
    attacked = DataChoice(source, names=tuple(names)) if source in SAMPLES or is_dataset(source, settings) else None
    if said := seen_words(settings, known, attacked):
        print(f"note: {said}", file=sys.stderr)


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
        trained = trained_victim(arguments.model)
        if trained is not None and changes:
            raise UserError(f"{arguments.model} is trained, so its {', '.join(sorted(changes))} cannot be changed.")
        if trained is not None:
            return Victim(trained[2], trained[0], trained[1])
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
