"""Audit: sharing nothing goes with an attack on the model alone, and only with one."""

import pytest

from core.attacks import ATTACKS
from tests.pages.test_audit_choices import PAGE, choose, keys, launched


def test_sharing_nothing_goes_with_an_attack_on_the_model_alone(app, store):
    alone = [name for name, attack in ATTACKS.items() if attack.model_only]
    test = app(PAGE, count="2")
    test.button_group(key="update").set_value("none").run()
    assert not test.exception
    assert "batch" not in keys(test)
    assert test.selectbox(key="attack").value == alone[0]
    assert launched(test, store).threat.update == "none"
    choose(test, "dlg")
    assert test.button_group(key="update").value == "gradients"
    choose(test, alone[0])
    assert test.button_group(key="update").value == "none"


@pytest.mark.parametrize(("query", "update"), [({"attack": "dlg"}, "gradients"), ({"update": "none"}, "none")])
def test_a_link_with_one_of_attack_and_update_brings_the_other(app, query, update):
    test = app(PAGE, **query)
    assert not test.exception
    attack = ATTACKS[test.selectbox(key="attack").value]
    assert update in attack.updates
    assert test.button_group(key="update").value == update
