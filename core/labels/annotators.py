"""Who answers. A row exists before any sign-in does; a signed-in identity attaches to one later."""

import time
import unicodedata

from sqlalchemy import select

from core.errors import UserError
from core.storage.database import insert_once
from core.storage.schema import annotators
from core.storage.store import Store

LONGEST_NAME = 60
_PUNCTUATION = frozenset(" .-_'@+")


def clean_name(text: str | None) -> str:
    """The annotator's name as stored: composed Unicode, single spaces.

    Raises UserError unless it has 1 to 60 characters, all of them letters, marks, digits, spaces or . - _ ' @ +
    (so no markup, no control or direction characters), at least one a letter or digit.
    """
    name = " ".join(unicodedata.normalize("NFC", text or "").split())
    if not name:
        raise UserError("An annotator needs a name: 1 to 60 letters, digits or spaces.")
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"An annotator's name has at most {LONGEST_NAME} characters, not {len(name)}; choose a shorter one."
        )
    wrong = [c for c in name if not (c in _PUNCTUATION or unicodedata.category(c)[0] in "LMN")]
    if wrong:
        raise UserError(
            f"An annotator's name holds letters, digits, spaces and . - _ ' @ + only, not U+{ord(wrong[0]):04X}; "
            "choose another one."
        )
    if not any(unicodedata.category(c)[0] in "LN" for c in name):
        raise UserError("An annotator's name needs at least one letter or digit.")
    return name


def annotator_id(store: Store, name: str, simulated: bool = False) -> int:
    """The annotator's row, made at the first call for this name. Raises UserError for a bad name, and for a
    simulated annotator that bears a person's name or the reverse: their answers must never mix.
    """
    cleaned = clean_name(name)
    query = select(annotators.c.id, annotators.c.simulated).where(annotators.c.name == cleaned)
    with store.database.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        with store.database.write() as connection:
            values = {"name": cleaned, "simulated": simulated, "created": time.time()}
            insert_once(connection, annotators, [values])
            row = connection.execute(query).one()
    if bool(row.simulated) != simulated:
        kind = "simulated" if row.simulated else "a person"
        raise UserError(f"The annotator {cleaned!r} is {kind} in this store; choose another name.")
    return int(row.id)
