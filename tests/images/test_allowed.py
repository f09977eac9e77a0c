"""What the app's visitors may open: nothing outside the allowed folders, however it is asked for."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.campaigns.plan import AttackChoice, Campaign, Data, Victim
from core.errors import UserError
from core.images.dataset import DataChoice
from core.images.datasets import input_of, open_dataset
from core.jobs.campaigns import submit_campaign
from core.jobs.training import TrainRequest, submit_training, victim_spec
from core.settings import Settings, load_settings
from core.storage.store import open_store
from tests.images.dataset_files import class_folder, parquet_file

REFUSED = "The app opens only what lies below"


@pytest.fixture
def visitor(settings: Settings, tmp_path: Path) -> Settings:
    """As the pages have it, with one folder allowed beside the data sets'."""
    return replace(settings, anywhere=False, folders=(tmp_path / "open",))


def test_below_the_allowed_folders_paths_open(visitor: Settings, tmp_path: Path) -> None:
    class_folder(tmp_path / "open" / "pets", {"a": 2, "b": 2})
    assert len(open_dataset(f"folder:{tmp_path / 'open' / 'pets'}", visitor).entries) == 4
    parquet_file(visitor.datasets / "own" / "x.parquet", 4)
    assert len(open_dataset(f"parquet:{visitor.datasets / 'own'}", visitor).entries) == 4


def test_elsewhere_they_do_not_whether_they_exist_or_not(visitor: Settings, tmp_path: Path) -> None:
    class_folder(tmp_path / "closed", {"a": 2, "b": 2})
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (
        *(tmp_path / "closed", tmp_path / "none", tmp_path / "open" / ".." / "closed", tmp_path / "open" / "link"),
        *("/etc", "", "closed", "~nobody-of-this-name/x", tmp_path / "loop", f"{tmp_path}/open\0/x"),
        tmp_path / "opened",  # begins with the name of an allowed one
    ):
        for kind in ("folder", "parquet"):
            with pytest.raises(UserError, match=REFUSED):
                open_dataset(f"{kind}:{path}", visitor)
            with pytest.raises(UserError, match=REFUSED):
                input_of(f"{kind}:{path}", visitor)
    assert len(open_dataset(f"folder:{tmp_path / 'closed'}", replace(visitor, anywhere=True)).entries) == 4


def test_links_within_an_allowed_folder_lead_nowhere_else(visitor: Settings, tmp_path: Path) -> None:
    class_folder(tmp_path / "closed", {"a": 2, "b": 2})
    parquet_file(tmp_path / "closed" / "x.parquet", 4)
    for name in ("train", "test"):
        (tmp_path / "open" / "set").mkdir(parents=True, exist_ok=True)
        (tmp_path / "open" / "set" / name).symlink_to(tmp_path / "closed")
    (tmp_path / "open" / "shards").mkdir()
    (tmp_path / "open" / "shards" / "x.parquet").symlink_to(tmp_path / "closed" / "x.parquet")
    for name in (f"folder:{tmp_path / 'open' / 'set'}", f"parquet:{tmp_path / 'open' / 'shards'}"):
        assert open_dataset(name, replace(visitor, anywhere=True)).entries  # and so there is an index of it
        with pytest.raises(UserError, match=REFUSED):
            open_dataset(name, visitor)


def test_no_training_or_campaign_of_a_visitor_reaches_elsewhere(visitor: Settings, tmp_path: Path) -> None:
    name = f"folder:{class_folder(tmp_path / 'closed', {'a': 4, 'b': 4})}"
    store = open_store(visitor)
    spec = victim_spec("lenet", "lfw", visitor)
    with pytest.raises(UserError, match=REFUSED):
        submit_training(store, TrainRequest(spec, "x", DataChoice(name)))
    plan = Campaign("c", (Data("d", name),), (Victim("v", "lenet"),), (AttackChoice("a", "dlg"),))
    with pytest.raises(UserError, match=REFUSED):
        submit_campaign(store, plan)
    store.database.dispose()


def test_the_environment_names_folders() -> None:
    found = load_settings({"SEMSIGHT_HOME": "/h", "SEMSIGHT_FOLDERS": "/a:/b/c:"})
    assert found.folders == (Path("/a"), Path("/b/c"))
    assert found.anywhere  # the command line's; pages._shared.settings takes it away
