"""Errors that a user can cause. Pages and commands show the sentence, never a traceback."""


class UserError(ValueError):
    """Say in one sentence what was expected, what came and what to do."""
