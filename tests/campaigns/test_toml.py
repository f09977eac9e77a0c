"""TOML: every slip is one sentence that names what is meant and where; every plan survives a round trip."""

import json
import random

import pytest

from core.campaigns.parse import parse, to_tables
from core.campaigns.plan import (
    AttackChoice,
    Campaign,
    Data,
    Originals,
    Skip,
    Threat,
    Training,
    TrainPart,
    Victim,
)
from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml, write_toml
from core.errors import UserError
from core.leakage.defences.text import read_defence
from core.leakage.threat import ThreatModel
from core.models.training.recipe import Recipe

GOOD = """
name = "mine"
[[data]]
dataset = "photos"
originals = { count = 4 }
[[victims]]
architecture = "convnet"
arguments = { base = 8 }
[[recipes]]
name = "r"
epochs = 3
[[attacks]]
attack = "dlg"
settings = { iterations = 5 }
"""
SLIPS = [  # (what is written, what instead, the sentence)
    ("epochs", "epoch", r"no key 'epoch' in \[\[recipes\]\] number 1; did you mean epochs\?"),
    ("dataset", "datset", r"no key 'datset' in \[\[data\]\] number 1; did you mean dataset\?"),
    ("[[attacks]]", "[[atacks]]", r"no key 'atacks' in the file; did you mean attacks\?"),
    ("count = 4", "cuont = 4", r"no key 'cuont' in \[data.originals\]; did you mean count\?"),
    ("count = 4", 'count = "4"', r"count in \[data.originals\] is a whole number, not '4'"),
    ("count = 4", "count = 0", r"count of the originals .* is 1 to .*, not 0"),
    ("count = 4", 'part = "vali"', r"part of the originals .* is train or test, not 'vali'"),
    ("epochs = 3", "epochs = true", r"epochs must be a whole number, not 'True' \(in \[\[recipes\]\] number 1\)"),
    ("epochs = 3", "checkpoints = [200]", r"checkpoints of recipe 'r' are epochs from 1 to 199"),
    ("epochs = 3", "trained = false\nepochs = 3", r"not trained, so it takes no epochs"),
    ('"convnet"', '"convnt"', r"no architecture called 'convnt'; did you mean convnet"),
    ("base = 8", "bsae = 8", r"no argument of ConvNet called 'bsae'; did you mean base"),
    ("base = 8", "base = 0", r"base of Victim 'convnet' must be"),
    ('"dlg"', '"dgl"', r"no attack called 'dgl'; did you mean .*dlg.* \(in attack 'dgl'\)"),
    ("iterations = 5", "iteratoins = 5", r"no setting called 'iteratoins'; did you mean iterations"),
    ('name = "mine"', 'name = ""', "A campaign needs a name"),
    ('name = "mine"', "name = 3", "name in the file is a text in quotes, not '3'"),
    ('name = "mine"', 'name = "mine"\ndata = 3', "Cannot overwrite a value|is not TOML"),
    ('name = "mine"', 'name = "mine"\nthreats = 3', r"threats in the file is one or more tables, each .*\[\[threats"),
    ('name = "mine"', 'name = "mine', "is not TOML: .*line 2"),
    ("[[victims]]", '[[victims]]\npreset = "lenet"\n[[victims]]', None),
    ("[[victims]]", '[[victims]]\n[[victims]]', r"\[\[victims\]\] number 1 has no name"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), SLIPS)
def test_a_slip_is_one_sentence(old: str, new: str, sentence: str | None):
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    if sentence is None:
        assert len(read_toml(text).victims) == 2
        return
    with pytest.raises(UserError, match=sentence) as error:
        read_toml(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            "[[threats]]\nname = 't'\ndefences = ['clp']",
            r"no defence called 'clp'; did you mean clip.*\[\[threats\]\] number 1",
        ),
        ("[[threats]]\nname = 't'\nbatch_size = 0", "1 to 128 images, not 0.*threat 't'"),
        ("[[threats]]\nname = 't'\nupdate = 'gradient'", "update is one of gradients, weights, none"),
        ("[[threats]]\nname = 't'\nadaptive = 1", "adaptive in .* is true or false"),
        ("[[threats]]\nname = 't'\n[[threats]]\nname = 't'", r"Two \[\[threats\]\] tables are called 't'"),
        ("[[skip]]", "names nothing"),
        ("[[skip]]\nvictim = 'convent'", "no victim in this campaign called 'convent'; did you mean convnet"),
        ("[[victims]]\nname = 'x'\npreset = 'lenet'\narchitecture = 'lenet'", "one, not architecture and preset"),
        ("[[victims]]\nname = 'x'\npreset = 'lenet'\ninit_seed = 2", "there already; arguments and init_seed"),
        ("[[data]]\ndataset = 'lfw'\nmean = [0.5]", "mean and std of data set 'lfw' come together"),
        ("[[data]]\ndataset = 'lfw'\nheld_out = 1", "held_out of data set 'lfw' is a share"),
    ],
)
def test_a_wrong_table_is_one_sentence(table: str, sentence: str):
    with pytest.raises(UserError, match=sentence):
        read_toml(f"{GOOD}\n{table}\n")


@pytest.mark.parametrize(("table", "word"), [("data", "data set"), ("victims", "victim"), ("attacks", "attack")])
def test_an_empty_grid_says_what_it_lacks(table: str, word: str):
    tables = to_tables(read_toml(GOOD))
    with pytest.raises(UserError, match=rf"has no {word}, so it has nothing to run; add a \[\[{table}\]\] table"):
        parse({**tables, table: []})


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing but a remark\n"])
def test_an_empty_plan_says_that_it_is_empty(text: str):
    with pytest.raises(UserError, match=r"^This plan is empty; it needs a name, .*\[\[attacks\]\] table\.$"):
        read_toml(text)


def test_a_missing_name_is_said_in_a_sentence():
    with pytest.raises(UserError, match=r"^The file has no name; write name = and a text in quotes\.$"):
        read_toml(GOOD.replace('name = "mine"', ""))


def test_a_huge_text_is_not_read():
    with pytest.raises(UserError, match="at most 1,000,000 characters"):
        read_toml("#" * 1_000_001)


def some(draw: random.Random) -> Campaign:
    """A campaign of any shape."""
    names = [word + " " + draw.choice('äß→×"') + chr(draw.randrange(33, 127)) for word in ("one", "two", "three")]
    maybe = lambda value: value if draw.random() < 0.5 else None  # noqa: E731
    recipes = [
        Recipe(epochs=draw.randint(10, 300), learning_rate=draw.random(), policies=draw.choice(["", "3-1-7"])),
        Recipe(defence=draw.choice(["none", "prune", "gaussian"]), noise=10 ** -draw.uniform(1, 9)),
        None,
    ]
    threats = [
        ThreatModel(batch_size=2, labels="inferred", batchnorm="train", running_statistics=False),
        ThreatModel(update="weights", local_epochs=3, local_lr=draw.random() + 0.01),
        ThreatModel(defences=(read_defence(f"clip:norm={draw.random() + 0.1!r}"), read_defence("gaussian"))),
    ]
    return Campaign(
        name=draw.choice(names),
        seed=draw.randrange(2**31),
        device=draw.choice(["auto", "cpu", "cuda:1"]),
        data=tuple(
            Data(
                name,
                draw.choice(["photos", "folder:/a b/ç"]),
                size=maybe(draw.randint(1, 64)),
                channels=maybe(draw.choice([1, 3])),
                **draw.choice([{}, {"mean": (0.1, 0.2, 0.3), "std": (0.5, 1e-3, 2.0)}]),
                classes=draw.choice([(), ("cat", 'r"q')]),
                seed=draw.randrange(9),
                held_out=draw.random(),
                train=TrainPart(maybe(5), maybe(6)),
                originals=Originals(
                    draw.choice(["train", "test"]), maybe(7), maybe(8), draw.choice([(), ("x", "y\\")])
                ),
            )
            for name in names[: draw.randint(1, 3)]
        ),
        victims=(
            Victim(names[0], "convnet", {"base": draw.randint(1, 9)}, draw.randrange(5)),
            Victim(names[1], preset="lenet"),
            Victim(names[2], model=draw.randint(1, 99)),
        ),
        recipes=tuple(
            Training(name, recipe, (1, 9) if recipe and draw.random() < 0.5 else ())
            for name, recipe in zip(names, recipes, strict=True)
        ),
        threats=tuple(Threat(name, model, draw.random() < 0.5) for name, model in zip(names, threats, strict=True)),
        attacks=(AttackChoice(names[0], "dlg", {"iterations": draw.randint(1, 9)}, draw.randrange(4)),),
        skip=draw.choice([(), (Skip(victim=names[0]), Skip(recipe=names[1], attack=names[0]))]),
    )


@pytest.mark.parametrize("seed", range(60))
def test_every_campaign_survives_toml_and_json(seed: int):
    campaign = some(random.Random(seed))
    if any(name != name.strip() for name in [campaign.name, *(one.name for one in campaign.victims)]):
        pytest.fail("the names of this test have no blank at their ends")
    assert read_toml(write_toml(campaign)) == campaign
    assert parse(json.loads(json.dumps(to_tables(campaign)))) == campaign


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_toml(name: str):
    assert read_toml(write_toml(PRESETS[name].campaign)) == PRESETS[name].campaign
