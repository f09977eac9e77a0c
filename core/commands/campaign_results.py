"""The table of settings of a campaign on a terminal, and as a file."""

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError

if TYPE_CHECKING:
    from core.storage.store import Store

SHOWN = ("setting", "state", "accuracy", "psnr_of_mean_error", "ssim_mean", "recognisable", "verdict")


def print_results(store: "Store", campaign_id: int, out: Path | None) -> None:
    """Print the main columns; write every column to DIR/settings.csv. Raises UserError where that cannot be written."""
    from core.report.settings_table import frame, settings_table
    from core.tables import write_csv

    found = frame(settings_table(store, campaign=campaign_id))
    shown = [name for name in SHOWN if name in found.columns]
    print(found[shown].to_string(index=False, na_rep="–", float_format=lambda value: f"{value:.3g}"))
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "settings.csv").write_bytes(write_csv(found))
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another folder.") from None
    print(f"The whole table is in {out / 'settings.csv'}.")
