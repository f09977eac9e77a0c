"""What is there is written down, and what is written down is there."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from core.__main__ import COMMANDS, main
from core.attacks import ATTACKS
from core.commands.audit_threat import add_threat_arguments
from core.commands.score import add_arguments as add_score_arguments
from core.leakage.defences import DEFENCES
from core.metrics.registry import METRICS


def audit_flags() -> list[str]:
    """The flags of `audit` that say what is shared and what is granted."""
    parser = argparse.ArgumentParser(add_help=False)
    add_threat_arguments(parser)
    return [flag for action in parser._actions for flag in action.option_strings]


ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(p.stem for p in (ROOT / "pages").glob("[!_]*.py")))
def test_every_page_is_in_the_readme(page: str) -> None:
    title = {"datasets": "Data sets"}.get(page, page.capitalize())
    assert f"| {title} |" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_its_help_shows_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"python -m core {command}" in README
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"python -m core {command}" in capsys.readouterr().out.split("example", 1)[1]


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_is_in_the_docs(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")


def test_every_attack_has_a_page_which_the_index_links() -> None:
    index = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    pages = {link: ROOT / "docs" / link for link in re.findall(r"\]\((attacks/[^)#]+)\)", index)}
    assert [link for link, page in pages.items() if not page.is_file()] == []
    written = {link: page.read_text(encoding="utf-8") for link, page in pages.items()}
    assert [name for name in ATTACKS if not any(f"`{name}`" in text for text in written.values())] == []


@pytest.mark.parametrize("name", sorted(DEFENCES))
def test_every_defence_is_in_the_docs(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "defences.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("flag", sorted(audit_flags()))
def test_every_flag_of_the_threat_model_is_in_the_docs(flag: str) -> None:
    assert f"`{flag}" in (ROOT / "docs" / "threat-models.md").read_text(encoding="utf-8")


def score_flags() -> list[str]:
    """The flags of `score`."""
    parser = argparse.ArgumentParser(add_help=False)
    add_score_arguments(parser)
    return [flag for action in parser._actions for flag in action.option_strings]


@pytest.mark.parametrize("flag", sorted(score_flags()))
def test_every_flag_of_score_is_in_the_docs(flag: str) -> None:
    assert flag in (ROOT / "docs" / "scoring.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_in_the_docs(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = [line for line in ARCHITECTURE.splitlines() if line.startswith("| `")]


def paths_in(text: str) -> list[str]:
    """What stands in backticks and looks like a file or a folder of this repository; {a,b} written out."""
    found = []
    for name in re.findall(r"`([^` ]+)`", text):
        if (name.endswith(".py") or "/" in name) and "(" not in name:
            head, brace, rest = name.partition("{")
            inner, _, tail = rest.partition("}")
            found += [f"{head}{one}{tail}" for one in inner.split(",")] if brace else [name]
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_name_in_a_row_of_the_architecture_exists_in_its_room_and_stands_there_once(row: str) -> None:
    _, rooms, *cells = row.split("|")
    folders = [ROOT / room for room in paths_in(rooms)]
    assert [folder for folder in folders if not folder.exists()] == []
    names = paths_in(" ".join(cells))
    assert [name for name in names if not any(list(place.glob(name)) for place in (*folders, ROOT))] == []
    held = paths_in(cells[0])
    assert sorted(held) == sorted(set(held)), "named twice: what a merge left behind?"
    code = "".join(
        p.read_text("utf-8") for folder in folders for p in (folder.rglob("*.py") if folder.is_dir() else [folder])
    )
    for function in re.findall(r"`(\w+)\([^`]*\)`", cells[1]):
        assert re.search(rf"^def {function}\b", code, flags=re.MULTILINE), function


def test_every_path_in_the_rest_of_the_architecture_exists() -> None:
    rest = paths_in("\n".join(line for line in ARCHITECTURE.splitlines() if line not in ROWS))
    assert [name for name in rest if not list(ROOT.glob(name))] == []
    assert len(rest) > 20
    assert len(ROWS) == ARCHITECTURE.count("\n| `")


def test_every_folder_of_core_is_a_room_of_the_architecture() -> None:
    rooms = "".join(row.split("|")[1] for row in ROWS)
    folders = sorted(f"core/{p.parent.name}/" for p in (ROOT / "core").glob("*/__init__.py"))
    assert [folder for folder in folders if folder not in rooms] == []


def test_the_readmes_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_readmes_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)$", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_the_readmes_benchmarks_exist() -> None:
    for module in re.findall(r"python -m (benchmarks\.\w+)", README):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_requirement_has_a_bound_and_a_reason() -> None:
    for file in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.fullmatch(r"[\w\[\]-]+>=[\d.]+ +# \S.*", line), f"{file}: {line}"


def test_the_card_s_packages_are_imported_by_the_product() -> None:
    sources = [p for folder in ("core", "pages") for p in (ROOT / folder).rglob("*.py")] + [ROOT / "app.py"]
    text = "\n".join(p.read_text(encoding="utf-8") for p in sources)
    for module in ("streamlit", "torch", "torchvision", "lpips", "skimage", "plotly", "pandas", "scipy"):
        used = rf"^\s*(import|from) {module}\b|find_spec\(\"{module}\"\)"  # data of a package: plotly.js, LPIPS weights
        assert re.search(used, text, flags=re.MULTILINE), module


def test_no_line_of_the_readme_runs_an_unknown_command() -> None:
    for line in re.findall(r"^python -m core .*$", README, flags=re.MULTILINE):
        assert shlex.split(line)[3] in COMMANDS


def test_the_version_is_the_same_everywhere() -> None:
    import core

    assert f'version = "{core.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
