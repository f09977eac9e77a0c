"""Data sets: cards with the licence first, downloads, one set closely, lists to share, and one's own files."""

import re

import pytest

from core.images.datasets import DATASETS
from core.jobs import fetch_data
from core.jobs.fetch import Fetch
from core.settings import load_settings
from tests.images.dataset_files import cifar100_archive, class_folder
from tests.pages.test_audit import words

PAGE = "pages/datasets.py"


def plain_words(test):
    return words(test).replace("\\", "")


def test_every_set_has_a_card_with_its_licence(app, store):
    test = app(PAGE)
    assert not test.exception
    for record in DATASETS.values():
        assert record.title in plain_words(test)
        assert record.licence in plain_words(test)


def test_a_download_starts_only_after_the_licence_was_read(app, store, monkeypatch):
    started = []
    monkeypatch.setattr(fetch_data, "start", lambda settings, name: started.append(name))
    test = app(PAGE)
    assert test.button(key="get_cifar10").disabled
    test.checkbox(key="read_cifar10").check().run()
    assert not test.button(key="get_cifar10").disabled
    test.button(key="get_cifar10").click().run()
    assert started == ["cifar10"]
    assert "get_celeba" not in [button.key for button in test.button]  # by hand only


def test_a_running_download_shows_how_far_it_is_and_can_be_cancelled(app, store, monkeypatch):
    stopped = []
    monkeypatch.setattr(fetch_data, "cancel", lambda settings, name: stopped.append(name))
    states = {}
    monkeypatch.setattr(fetch_data, "fetched", lambda settings, name: states.get(name, Fetch()))
    monkeypatch.setattr(
        fetch_data, "start", lambda settings, name: states.update({name: Fetch(True, 0.25, "40 of 162 MiB")})
    )
    test = app(PAGE)
    test.checkbox(key="read_cifar10").check().run()
    test.button(key="get_cifar10").click().run()
    assert not test.exception
    assert "40 of 162 MiB" in test.get("progress")[0].proto.text
    test.button(key="stop_cifar10").click().run()
    assert stopped == ["cifar10"]
    states.clear()
    test.run()
    assert test.checkbox(key="read_cifar10").value  # nobody has to tick it again


def test_a_failed_download_says_why_and_goes_on_from_what_came(app, store, monkeypatch):
    problem = "The host of cifar-10-binary.tar.gz refuses it (403 Forbidden); try again."
    states = {"cifar10": Fetch(problem=problem)}
    monkeypatch.setattr(fetch_data, "fetched", lambda settings, name: states.get(name, Fetch()))
    folder = load_settings().datasets / "cifar10"
    folder.mkdir(parents=True)
    (folder / "cifar-10-binary.tar.gz.part").write_bytes(b"half")
    test = app(PAGE)
    assert problem in test.error[0].value.replace("\\", "")
    assert test.button(key="get_cifar10").label == "Go on with the download"
    assert "partly here" in words(test)


def test_a_missing_set_closely_says_how_to_place_it(app, store):
    test = app(PAGE, set="celeba")
    assert not test.exception
    assert str(load_settings().datasets / "celeba") in plain_words(test)
    assert {row["file"] for row in test.dataframe[0].value.to_dict("records")} == {
        file.name for file in DATASETS["celeba"].files
    }


def test_a_published_set_closely_from_its_own_archive(app, store):
    folder = load_settings().datasets / "cifar100"
    folder.mkdir(parents=True)
    cifar100_archive(folder / DATASETS["cifar100"].files[0].name, per_class=2, test_per_class=1)
    test = app(PAGE, set="cifar100", sample_part="training part", sample_count="24")
    assert not test.exception
    assert not test.error
    assert "100 classes" in words(test)
    rows = test.dataframe[0].value.to_dict("records")
    assert len(rows) == 100
    assert {(row["training"], row["held out"]) for row in rows} == {(2, 1)}
    assert "24 images, the first 12 shown" in words(test)
    pictures = next(element.proto.body for element in test.get("html") if "<figure" in element.proto.body)
    assert pictures.count("<figure") == 12


def test_a_list_takes_the_very_same_images(app, store):
    from core.images.dataset import DataChoice
    from core.images.datasets import open_dataset
    from core.images.sampling import choose, write_list

    dataset = open_dataset("lfw", load_settings())
    choice = DataChoice("lfw", part="test", count=5, seed=3)
    names = [dataset.entries[place].name for place in choose(dataset, choice)]
    test = app(PAGE, set="lfw", sample_by="a list")
    test.file_uploader(key="sample_list_file").upload("five.csv", write_list(dataset, choice).encode()).run()
    assert not test.exception
    pictures = next(element.proto.body for element in test.get("html") if "<figure" in element.proto.body)
    assert [pictures.index(name) for name in names] == sorted(pictures.index(name) for name in names)
    assert pictures.count("<figure") == 5


def test_a_file_that_is_no_list_is_refused_in_a_sentence(app, store):
    test = app(PAGE, set="lfw", sample_by="a list")
    test.file_uploader(key="sample_list_file").upload("x.csv", b"name\nnobody\n").run()
    assert not test.exception
    assert "no picture called" in test.error[0].value


@pytest.mark.parametrize("value", ["imagnet", "../../etc", "<b>", ""])
def test_a_link_to_no_set_is_one_sentence(app, store, value):
    test = app(PAGE, set=value)
    assert not test.exception
    assert len(test.error) == 1
    assert DATASETS["cifar100"].title in plain_words(test)  # the page goes on as without the link


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_own_files_that_are_not_there_are_one_sentence(app, store, tmp_path, kind):
    test = app(PAGE)
    test.button_group(key="own_kind").set_value(kind).run()
    for path in (str(tmp_path / "none"), "/no/such/place"):
        test.text_input(key="own_path").set_value(path).run()
        assert not test.exception
        assert len(test.error) == 1
        assert path in test.error[0].value.replace("\\", "")
    assert "name it in SEMSIGHT_FOLDERS" in test.error[0].value.replace("\\", "")
    assert str(tmp_path) in test.text_input(key="own_path").help.replace("\\", "")


def test_no_link_opens_what_is_not_allowed(app, store, tmp_path_factory):
    closed = class_folder(tmp_path_factory.mktemp("closed") / "pets", {"cats": 4, "dogs": 4})
    for page, query in (
        (PAGE, {"set": f"folder:{closed}"}),
        ("pages/models.py", {"view": "Train a victim", "train_data": "folder", "train_path": str(closed)}),
        ("pages/audit.py", {"images": "data set", "from_data": "folder", "from_path": str(closed)}),
    ):
        test = app(page, **query)
        assert not test.exception
        assert any("SEMSIGHT_FOLDERS" in one.value.replace("\\", "") for one in test.error), page
    test = app("pages/campaigns.py")
    text = test.text_area(key="campaign_toml").value
    test.text_area(key="campaign_toml").set_value(re.sub('dataset = ".*"', f'dataset = "folder:{closed}"', text)).run()
    assert not test.exception
    said = " ".join(one.value for one in (*test.error, *test.warning)).replace("\\", "")
    assert "SEMSIGHT_FOLDERS" in said


def test_a_small_set_opens_with_what_there_is(app, store, tmp_path):
    class_folder(tmp_path / "good", {"cat": 6, "dog": 6})
    test = app(PAGE, set=f"folder:{tmp_path / 'good'}")
    assert not test.exception
    assert not test.error
    assert "2 images" in plain_words(test)


def junk(name="cifar100"):
    folder = load_settings().datasets / name
    folder.mkdir(parents=True)
    path = folder / DATASETS[name].files[0].name
    path.write_bytes(b"junk")
    return path


@pytest.mark.parametrize("query", [{}, {"set": "cifar100"}])
def test_another_file_than_the_publishers_is_said_and_can_be_put_aside(app, store, query):
    path = junk()
    test = app(PAGE, **query)
    assert not test.exception
    assert "differs from the publisher's" in words(test)
    assert "has 4 B where the publisher's has 161 MiB" in plain_words(test)
    assert "It does not open" in plain_words(test)
    test.button(key="aside_cifar100").click().run()
    assert not test.exception
    assert path.with_name(f"{path.name}.aside-1").read_bytes() == b"junk"
    assert "get_cifar100" in [button.key for button in test.button]


def test_an_archive_that_differs_and_opens_says_what_it_holds(app, store):
    path = junk()
    cifar100_archive(path, per_class=2, test_per_class=1)
    assert "What is there holds 300 images of 100 classes" in plain_words(app(PAGE))


def test_own_images_get_a_tick_only_once_they_were_opened(app, store, tmp_path):
    class_folder(tmp_path / "good", {"cat": 3, "dog": 3})
    test = app(PAGE)
    test.text_input(key="own_path").set_value(str(tmp_path / "good")).run()
    assert ":material/check:" in words(test)
    assert "all of them were opened" in plain_words(test)
    (tmp_path / "good" / "cat" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "good").rename(tmp_path / "broken")
    test.text_input(key="own_path").set_value(str(tmp_path / "broken")).run()
    assert not test.exception
    assert "bad.png" in test.error[0].value.replace("\\", "")
