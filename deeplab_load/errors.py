"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    Commands print the sentence and exit with a non-zero status; no traceback is shown. Names of files are told as they
    are, but for what would break the line or steer a terminal, which is escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(words: object) -> str:
    """Words in one line: what would break it or steer a terminal is escaped, since a file's name may hold anything."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(words))
