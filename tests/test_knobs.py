"""What a user may set, and the sentence for what not."""

import dataclasses
import json

import pytest

from core.attacks import ATTACKS, config_from_dict, configure
from core.errors import UserError


@pytest.mark.parametrize("name", ATTACKS)
def test_every_knob_says_what_it_means_and_survives_json(name: str) -> None:
    config = ATTACKS[name].config
    for field in dataclasses.fields(config):
        assert set(field.metadata) == {"help", "unit", "minimum", "maximum", "choices"}
        assert len(field.metadata["help"]) > 10
        assert isinstance(field.default, bool | int | float | str)
    assert getattr(config, "restarts", 1) >= 1
    assert getattr(config, "matching", 1.0) > 0  # 0 is the control
    assert config_from_dict(name, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_text_and_values_are_taken() -> None:
    config = configure(
        "inverting-gradients", {"steps": "20", "lr": "0.05", "signed": "no", "restarts": 3.0, "decay": False}
    )
    assert (config.steps, config.lr, config.signed, config.restarts, config.decay) == (20, 0.05, False, 3, False)
    assert isinstance(config.restarts, int)


@pytest.mark.parametrize(
    ("attack", "overrides", "sentence"),
    [
        ("dgl", {}, "no attack called 'dgl'; did you mean dlg"),
        ("dlg", {"restart": 2}, "no setting called 'restart'; did you mean restarts"),
        ("dlg", {"restarts": 0}, "restarts must be from 1 to 64, not 0"),
        ("dlg", {"restarts": 2.5}, "restarts must be a whole number, not '2.5'"),
        ("dlg", {"restarts": True}, "restarts must be a whole number, not 'True'"),
        ("dlg", {"tolerance": "nan"}, "tolerance must be a number, not 'nan'"),
        ("dlg", {"tolerance": -1}, "tolerance must be at least 0, not -1"),
        ("dlg", {"tolerance": None}, "tolerance must be a number, not 'None'"),
        ("dlg", {"labels": "guess"}, "labels must be one of observation, optimise, not 'guess'"),
        ("inverting-gradients", {"signed": "maybe"}, "signed must be true or false, not 'maybe'"),
        ("dlg", {"restarts": "9" * 400}, "restarts must be"),
    ],
)
def test_mistakes_get_one_sentence(attack: str, overrides: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(attack, overrides)
    assert sentence in str(caught.value)
