"""The Label page without a browser: what is sent to it, and its empty states. The judge itself: tests/e2e."""

import json
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from core.storage import schema
from core.storage.store import Store
from tests.filled_store import fill_store

PAGE = "pages/label.py"


def judge_data(test: AppTest) -> dict[str, object]:
    """What the component was given; AppTest knows it as an unknown element."""
    (element,) = test.get("bidi_component")
    proto = element.proto
    return dict(json.loads(proto.mixed.json or proto.json if proto.WhichOneof("data") == "mixed" else proto.json))


def test_an_empty_store_says_what_to_do(app: Callable[..., AppTest], store: Store) -> None:
    test = app(PAGE)
    assert not test.exception
    assert "nothing to label yet" in test.markdown[0].value
    assert not test.get("bidi_component")


def test_the_browser_gets_images_opaque_ids_and_nothing_else(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=20, runs=2)
    test = app(PAGE, annotator="Ana")
    assert not test.exception
    data = judge_data(test)
    assert data["question"] == "Can you recognise what this image shows?"
    assert (data["answered"], data["total"]) == (0, 40)
    items = data["items"]
    assert isinstance(items, list)
    assert 8 <= len(items) <= 24
    for item in items:
        assert set(item) == {"id", "src"}
        assert item["src"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"study": "../../etc/passwd"}, "no study called"),
        ({"study": "x" * 10_000}, "no study called"),
        ({"annotator": "<script>alert(1)</script>"}, "letters, digits"),
        ({"annotator": "x" * 10_000}, "at most 60"),
    ],
)
def test_an_unknown_link_gets_one_sentence(
    app: Callable[..., AppTest], store: Store, query: dict[str, str], says: str
) -> None:
    fill_store(store, originals=2, runs=1)
    test = app(PAGE, **query)
    assert not test.exception
    assert len(test.error) == 1
    assert says in test.error[0].value.replace("\\", "")
    assert len(test.error[0].value) < 400
    assert [one.proto.label for one in test.get("page_link")][-1] == "Open Label without this link"
    assert not test.get("bidi_component")


def test_a_closed_study_says_so(app: Callable[..., AppTest], store: Store) -> None:
    fill_store(store, originals=2, runs=1, labels=1)
    with store.database.write() as connection:
        connection.execute(schema.studies.update().values(state="closed"))
    test = app(PAGE, annotator="Ana")
    assert "closed" in test.error[0].value
