"""The sentences of a verdict."""

EASY = "easy"
CONTROL_NAMES = {
    "mismatched": "a mismatched gradient",
    "prior": "the prior alone",
    EASY: "the undefended easy case",
}
OTHER_CLASS = "another class asked for"  # what mismatched means for an attack on the model alone
CONTROL_RULE = (
    "A control fails when people recognise one of its reconstructions, or when one of its scores reaches the median "
    "score of the originals that count as leaked (of all attacked originals, where none counts). The easy case, the "
    "same attack on one undefended image with all that an attacker may be told, fails when it shows nothing either; "
    "that decides only where the attack showed nothing."
)
NO_MISMATCHED = "No mismatched control was run: it needs a second update with another picture."
NO_OTHER_CLASS = "No mismatched control was run: it needs an original of another class."
ALONE = (
    "An attack on the model alone makes pictures of classes: an original that is none's nearest does not count here."
)
NO_CONTROL = "Nothing tells what the attack shows without this update: run it with controls and a second update."
