"""Which paths of the server may be opened as data sets: any on the command line, below some folders in the app."""

from pathlib import Path

from core.errors import UserError
from core.names import safe_text
from core.settings import Settings


def allowed_roots(settings: Settings) -> tuple[Path, ...]:
    """The folders below which the app opens paths."""
    return (settings.datasets, *settings.folders)


def check_allowed(path: Path, settings: Settings) -> None:
    """Raise UserError where the app may not open a path, wherever its links lead; says nothing of what is there."""
    if settings.anywhere:
        return
    try:
        found = path.resolve()
        inside = any(found.is_relative_to(root.resolve()) for root in allowed_roots(settings))
    except (OSError, RuntimeError, ValueError):  # a loop of links; a zero byte
        inside = False
    if not inside:
        raise UserError(
            f"The app opens only what lies below {roots_words(settings)}, and {safe_text(str(path), 120)!r} does not; "
            "to allow another folder, name it in SEMSIGHT_FOLDERS and start the app anew."
        )


def roots_words(settings: Settings) -> str:
    """The allowed folders in a sentence."""
    return " or ".join(safe_text(str(root), 120) for root in allowed_roots(settings))
