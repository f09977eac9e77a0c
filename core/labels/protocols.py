"""What annotators are asked: the wording, the possible answers, and which of them count as recognised."""

from dataclasses import dataclass

from core.errors import UserError
from core.registry import look_up, register


@dataclass(frozen=True)
class Choice:
    """One possible answer."""

    value: str  # as stored
    text: str  # as shown
    keys: tuple[str, ...]  # KeyboardEvent.key, lower case; the first is shown


@dataclass(frozen=True)
class Protocol:
    """A question and its answers. A change of wording or answers is a new version: answers never mix versions."""

    name: str
    version: int
    wording: str
    choices: tuple[Choice, ...]
    recognised: frozenset[str]  # answers that count as recognised; every other one counts as not
    undo_keys: tuple[str, ...] = ("backspace", "z")

    def check(self, answer: str) -> str:
        """Return `answer`; raise UserError if the protocol does not offer it."""
        values = [choice.value for choice in self.choices]
        if answer not in values:
            raise UserError(f"An answer to {self.name!r} is one of {', '.join(values)}, not {str(answer)[:80]!r}.")
        return answer


PROTOCOLS: dict[str, Protocol] = {}


def protocol_named(name: str) -> Protocol:
    """The protocol called `name`; raise UserError that names the nearest ones."""
    return look_up(PROTOCOLS, name, "protocol")


register(
    PROTOCOLS,
    "recognisable",
    Protocol(
        name="recognisable",
        version=1,
        wording="Can you recognise what this image shows?",
        choices=(
            Choice("yes", "Recognisable", ("y", "j", "1")),
            Choice("no", "Not recognisable", ("n", "2")),
            Choice("unsure", "Unsure", ("u", "3")),
        ),
        recognised=frozenset({"yes"}),
    ),
)
