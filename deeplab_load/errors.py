"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    Commands print the sentence and exit with a non-zero status; no traceback is shown.
    """
