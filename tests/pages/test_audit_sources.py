"""Audit: trained victims, data sets, folders, Parquet files and lists; whether the victim has seen the images."""

from dataclasses import replace

import pytest

from core.images.dataset import DataChoice
from core.images.datasets import open_dataset
from core.images.samples import sample_pictures
from core.images.sampling import choose, load_choice, write_list
from core.jobs.payloads import from_json
from core.settings import load_settings
from core.storage import schema
from pages import _audit_images
from tests.images.dataset_files import cifar100_archive, class_folder
from tests.pages.test_audit import words
from tests.trained_rows import QUICK, trained_model, training_rows

PAGE = "pages/audit.py"


def plain_words(test):
    return words(test).replace("\\", "")


def attacks(store):
    with store.database.read() as connection:
        rows = connection.execute(schema.jobs.select().where(schema.jobs.c.kind == "attack")).all()
    return [from_json(row.payload_type, row.payload_version, row.payload) for row in rows]


def names_of(store):
    with store.database.read() as connection:
        return [row.name for row in connection.execute(schema.originals.select().order_by(schema.originals.c.id))]


def test_a_trained_victim_is_attacked_by_its_link(app, store):
    job = training_rows(store)
    trained_model(store, job, epoch=2, final=False)
    model, spec = trained_model(store, job)
    test = app(PAGE, **{"from": "trained", "victim": str(model)})
    assert not test.exception
    assert "88 % of 40 images" in plain_words(test)
    test.button(key="launch").click().run()
    assert not test.exception
    assert attacks(store)[0].model == spec
    assert test.query_params["victim"] == str(model)


def test_without_a_training_the_page_leads_to_the_form(app, store):
    test = app(PAGE, **{"from": "trained"})
    assert not test.exception
    assert "No victim has been trained" in words(test)
    assert test.button(key="launch").disabled


@pytest.mark.parametrize("value", ["99", "x", "<b>"])
def test_a_link_to_no_victim_is_said_and_another_one_is_chosen(app, store, value):
    trained_model(store, training_rows(store))
    test = app(PAGE, **{"from": "trained", "victim": value})
    assert not test.exception
    assert "There is no trained model" in plain_words(test)
    assert not test.button(key="launch").disabled


def test_a_data_set_that_is_here_is_drawn_by_the_link(app, store):
    folder = load_settings().datasets / "cifar100"
    folder.mkdir(parents=True)
    cifar100_archive(folder / "cifar-100-binary.tar.gz", per_class=2, test_per_class=1)
    query = {"images": "data set", "from_data": "cifar100", "from_count": "5", "from_draw": "4"}
    test = app(PAGE, **query, from_part="training part")
    assert not test.exception
    test.button(key="launch").click().run()
    dataset = open_dataset("cifar100", load_settings())
    wanted = choose(dataset, DataChoice("cifar100", part="train", count=5, seed=4))
    assert names_of(store) == [dataset.entries[place].name for place in wanted]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"from_data": "cifar10"}, "is not on this machine"),
        ({"from_data": "folder", "from_path": "/no/such"}, "The app opens only what lies below"),
        ({"from_data": "parquet", "from_path": "/no/such.parquet"}, "/no/such.parquet"),
        ({"from_data": "folder"}, "Give the path of a folder"),
    ],
)
def test_images_that_are_not_there_are_one_sentence(app, store, query, said):
    test = app(PAGE, images="data set", **query)
    assert not test.exception
    assert said in plain_words(test)
    assert test.button(key="launch").disabled


def test_a_list_of_a_folder_is_attacked_in_its_order(app, store, tmp_path):
    class_folder(tmp_path / "pets", {"cats": 4, "dogs": 4})
    name = f"folder:{tmp_path / 'pets'}"
    dataset = open_dataset(name, load_settings())
    choice = DataChoice(name, part="train", count=3, seed=2)
    test = app(PAGE, images="data set", from_data="folder", from_path=str(tmp_path / "pets"), from_by="a list")
    test.file_uploader(key="from_list_file").upload("three.csv", write_list(dataset, choice).encode()).run()
    assert not test.exception
    test.button(key="launch").click().run()
    assert names_of(store) == [dataset.entries[place].name for place in choose(dataset, choice)]


def test_the_page_says_whether_the_victim_has_seen_the_images(app, store, tmp_path):
    class_folder(tmp_path / "pets", {"cats": 6, "dogs": 6})
    name = f"folder:{tmp_path / 'pets'}"
    model, _ = trained_model(store, training_rows(store, data=DataChoice(name), recipe=replace(QUICK, batch_size=4)))
    query = {"from": "trained", "victim": str(model), "images": "data set", "from_data": "folder", "from_count": "2"}
    query["from_path"] = str(tmp_path / "pets")
    assert "The victim was trained on" in plain_words(app(PAGE, **query, from_part="training part"))
    assert "the victim has seen none" in plain_words(app(PAGE, **query, from_part="held out"))


def test_images_are_decoded_once_for_a_choice(app, store, tmp_path, monkeypatch):
    class_folder(tmp_path / "pets", {"cats": 4, "dogs": 4})
    decoded = []

    def counted(settings, choice, **rest):
        decoded.append(choice)
        return load_choice(settings, choice, **rest)

    monkeypatch.setattr(_audit_images, "load_choice", counted)
    test = app(PAGE, images="data set", from_data="folder", from_path=str(tmp_path / "pets"), from_count="2")
    test.number_input(key="seed").set_value(5).run()
    test.run()
    assert len(decoded) == 1


def test_faces_that_a_trained_victim_has_not_seen_stand_there_at_first(app, store):
    model, _ = trained_model(store, training_rows(store, data=DataChoice("lfw")))
    test = app(PAGE, **{"from": "trained", "victim": str(model), "images": "lfw", "count": "8"})
    assert not test.exception
    assert "the victim has seen none" in plain_words(test)
    test.button(key="launch").click().run()
    dataset = open_dataset("lfw", load_settings())
    held = choose(dataset, DataChoice("lfw", part="test", count=8))
    assert names_of(store) == [dataset.entries[place].name for place in held]


def test_a_link_gives_a_preset_the_first_pictures_of_a_bundled_set(app, store):
    test = app(PAGE, images="lfw", count="8")
    test.button(key="launch").click().run()
    assert names_of(store) == [picture.name for picture in sample_pictures("lfw")[:8]]


def test_a_bundled_set_takes_part_seed_and_class(app, store):
    query = {"pick_by": "drawn", "pick_part": "training part", "pick_draw": "3", "pick_count": "4"}
    test = app(PAGE, images="photos", **query)
    test.multiselect(key="pick_only").set_value(["cat", "coffee"]).run()
    test.button(key="launch").click().run()
    dataset = open_dataset("photos", load_settings())
    choice = DataChoice("photos", part="train", count=4, classes=("cat", "coffee"), seed=3)
    assert names_of(store) == [dataset.entries[place].name for place in choose(dataset, choice)]


def test_a_bundled_set_takes_a_list(app, store):
    dataset = open_dataset("lfw", load_settings())
    choice = DataChoice("lfw", part="test", count=3, seed=9)
    test = app(PAGE, images="lfw", pick_by="a list")
    assert "give a list of images" in plain_words(test)
    test.file_uploader(key="pick_list_file").upload("three.csv", write_list(dataset, choice).encode()).run()
    test.button(key="launch").click().run()
    assert names_of(store) == [dataset.entries[place].name for place in choose(dataset, choice)]


def test_the_victims_own_folder_stands_there_at_first_and_after_another_one_is_picked(app, store, tmp_path):
    class_folder(tmp_path / "pets", {"cats": 6, "dogs": 6})
    faces, _ = trained_model(store, training_rows(store))
    pets, _ = trained_model(
        store, training_rows(store, data=DataChoice(f"folder:{tmp_path / 'pets'}"), recipe=replace(QUICK, batch_size=4))
    )
    test = app(PAGE, **{"from": "trained", "victim": str(pets)})
    assert not test.exception
    assert test.selectbox(key="from_data").value == "folder"
    assert test.text_input(key="from_path").value == str(tmp_path / "pets")
    assert "the victim has seen none" in plain_words(test)
    assert not test.button(key="launch").disabled
    test.selectbox(key="victim_picked").set_value(str(faces)).run()
    assert test.button_group(key="images").value == "lfw"
    test.selectbox(key="victim_picked").set_value(str(pets)).run()
    assert test.button_group(key="images").value == "data set"
    assert "the victim has seen none" in plain_words(test)


def test_data_sets_that_are_here_are_offered_before_others(app, store):
    folder = load_settings().datasets / "cifar10"
    folder.mkdir(parents=True)
    (folder / "cifar-10-binary.tar.gz").write_bytes(b"x")
    test = app(PAGE, images="data set")
    assert test.selectbox(key="from_data").options[:2] == ["cifar10", "cifar100"]
    assert test.selectbox(key="from_data").value == "cifar10"


def test_classes_that_do_not_fit_the_victim_are_warned_of(app, store):
    model, _ = trained_model(store, training_rows(store))  # two classes
    test = app(PAGE, **{"from": "trained", "victim": str(model), "images": "photos"})
    assert not test.exception
    (said,) = [element.value for element in test.warning if "do not fit" in element.value]
    assert "labels are drawn" in said


def test_a_small_folder_opens_without_an_error(app, store, tmp_path):
    class_folder(tmp_path / "pets", {"cats": 3, "dogs": 3})
    test = app(PAGE, images="data set", from_data="folder", from_path=str(tmp_path / "pets"))
    assert not test.error
    assert "2 of 2" in test.number_input(key="from_count").placeholder
    test.button(key="launch").click().run()
    assert len(names_of(store)) == 2
