"""What a reader of a table of settings must know beside its figures, in sentences. Pure."""

from collections.abc import Mapping, Sequence

from core.report.present import Shown, anew_words
from core.report.sets import SetScore
from core.report.settings_records import PARTS, SettingRow


def set_note(scores: Sequence[SetScore]) -> str:
    """The small-sample warnings of a set metric over the table."""
    sizes = sorted({one.n for one in scores})
    least = max(one.minimum_sample for one in scores)
    told = []
    if sizes[0] < least:
        told.append(f"From {_span(sizes)} pictures: with fewer than {least:,} a value says little by itself.")
    if len(sizes) > 1:
        told.append(f"The settings have {_span(sizes)} pictures, and a value depends on their number.")
    return " ".join(told)


def alike(rows: Sequence[SettingRow]) -> dict[str, str]:
    """The parts that tell none of several settings from another."""
    if len(rows) < 2:
        return {}
    found = {name: {row.parts.get(name, "") for row in rows} for name in PARTS}
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1 and "" not in values}


def notes(rows: Sequence[SettingRow], choice: Mapping[str, Shown], blind_only: bool) -> tuple[str, ...]:
    """The cautions under a table: what its figures must not be taken for."""
    whole = [row for row in rows if row.whole]
    told = []
    if words := anew_words({name: (kind.done, kind.of) for name, kind in choice.items() if kind.of}):
        told.append(words)
    sizes = sorted({row.reconstructions for row in whole if row.reconstructions})
    if len(sizes) > 1:
        told.append(f"The settings have {_span(sizes)} reconstructions each; part of a difference may be the pictures.")
    data = {row.parts.get("data", "") for row in whole}
    if len(data) > 1:
        told.append("The settings attack different data sets, whose pictures are not equally easy to recognise.")
    if drawn := sum(row.drawn for row in whole):
        told.append(f"Labels were drawn in {drawn:,} settings: the images' classes are not those of the victim.")
    if any(row.nearest for row in whole):
        told.append("≈ marks attacks on the model alone: each picture is compared with the nearest of its class.")
    judged = [row.verdict.verdict for row in whole if row.verdict]
    if judged and all(one.basis == "threshold" for one in judged):
        told.append(f"Nobody has answered yet: verdicts count originals with {judged[0].threshold}, a convention.")
    told += _answers(rows, blind_only)
    return tuple(told)


def _answers(rows: Sequence[SettingRow], blind_only: bool) -> list[str]:
    """Where the answers about these settings went: who gave some must find them again."""
    said = [row.people for row in rows if row.people]
    counted, controls = sum(one.rate.n for one in said), sum(one.controls for one in said)
    beside = sum(one.beside for one in said)
    told = []
    if controls:
        some = f"{controls:,} {'was' if controls == 1 else 'were'}"
        told.append(
            f"Of {_many(counted + controls)} the people's columns count {counted:,}; {some} about controls, "
            "made without the update, which tell how often people recognise what cannot be a leak."
        )
    if blind_only and beside:
        told.append(f"{_many(beside)} given beside the original {'is' if beside == 1 else 'are'} left out.")
    return told


def _many(answers: int) -> str:
    return f"{answers:,} answer{'' if answers == 1 else 's'}"


def _span(sizes: Sequence[int]) -> str:
    return f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
