"""docs/models.md says what the catalogue says."""

from pathlib import Path

from core.commands.doctor import EXAMPLES
from core.models.catalogue import CATALOGUE
from core.models.presets import PRESETS
from core.models.weights import WEIGHTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_every_architecture_has_its_row() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")
    ]
    stated = {name: row[1:] for row in rows if len(row) == 5 for name in row[0].split(", ")}
    for name, known in CATALOGUE.items():
        least, training, batchnorm, remarks = stated[name]
        assert (int(least), int(training)) == (known.minimum_size, known.training_minimum)
        assert (batchnorm == "yes") == known.batchnorm
        assert ("refused" in remarks) == bool(known.refused)
        assert (f"multiple of {known.multiple}" in remarks) == (known.multiple > 1)
        assert all(f"`{argument.name}` = {argument.default}" in remarks for argument in known.arguments.values())


def test_presets_and_weights_are_named() -> None:
    assert all(name in PAGE for name in (*PRESETS, *WEIGHTS))


def test_weights_have_their_row() -> None:
    metrics = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, record in WEIGHTS.items():
        start = (
            f"| `{name}` | {record.title} | {record.licence} | {record.mebibytes} MiB, [{record.file}]({record.url}) |"
        )
        assert start in metrics
    fetched = sum(record.mebibytes << 20 for record in WEIGHTS.values() if record.sha256)
    assert f"({fetched / 1e9:.1f} GB)" in metrics
    assert f"({fetched / 1e9:.1f} GB)" in EXAMPLES
