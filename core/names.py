"""Foreign text made fit to be shown: file names, keys and values that somebody else wrote.

The result is plain text, not HTML or Markdown: who draws it must escape it as any other text.
"""

import re
import unicodedata

# Control, format (bidi marks, zero-width), surrogate, private and unassigned characters, line and paragraph separators.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_text(text: str, limit: int = 80) -> str:
    """`text` on one line: hidden characters removed, white space collapsed, at most `limit` characters."""
    start = text[: 4 * limit + 64]  # hidden characters may make up most of it; no need to look at megabytes
    visible = "".join(" " if c in "\t\n\r\v\f" else c for c in start if c in "\t\n\r\v\f" or not _hidden(c))
    clean = re.sub(r"\s+", " ", visible).strip()
    shortened = len(clean) > limit or len(text) > len(start)
    return clean[: limit - 1].rstrip() + "…" if shortened else clean


def safe_name(filename: str, limit: int = 120) -> str:
    """The last part of a file name as a user gave it, for display only; never empty, never "." or "..".

    The ending is kept when the name is cut to `limit` characters.
    """
    last = re.split(r"[/\\]", filename.replace("\0", ""))[-1]
    clean = " ".join("".join(c for c in last if not _hidden(c)).split())
    if not clean.strip(". "):
        return "unnamed"
    if len(clean) <= limit:
        return clean
    stem, dot, ending = clean.rpartition(".")
    if not stem or len(ending) > 15:
        return clean[: limit - 1] + "…"
    return stem[: limit - len(ending) - 2] + "…" + dot + ending


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in HIDDEN
