"""The table of settings of a campaign on a terminal, and as a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError

if TYPE_CHECKING:
    from core.storage.store import Store


def print_results(store: "Store", campaign_id: int, out: Path | None) -> None:
    """Print the main columns; write every column to DIR/settings.csv. Raises UserError where that cannot be written."""
    from core.commands.settings import chosen_columns, lines
    from core.report.settings_table import frame, settings_table
    from core.tables import write_csv

    table = settings_table(store, campaign=campaign_id)
    print("\n".join(lines(table, chosen_columns(table))))
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.csv").write_bytes(write_csv(frame(table)))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another folder.") from None
    print(f"The whole table is in {out / 'settings.csv'}.")
