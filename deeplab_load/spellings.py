"""Options as fields of dataclasses, and their values in the spellings of the original's command lines."""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from deeplab_load.errors import UserError

_TRUTHS = {'true': True, '1': True, 'false': False, '0': False}


def option(default: Any, text: str, choices: Sequence[str] | None = None, *, alone: bool = False) -> Any:
    """A dataclass field that becomes a flag; None as a default means `not given`.

    With `alone` the flag may stand without a value, and means the first of its choices.
    """
    return dataclasses.field(default=default, metadata={'help': text, 'choices': choices, 'alone': alone})


def demand(holds: bool, config: Any, name: str, rule: str) -> None:
    """Raises UserError with the option `name` of `config` and the rule that it breaks, unless the rule holds."""
    if not holds:
        value = getattr(config, name)
        value = ','.join(map(str, value)) if isinstance(value, tuple) else value
        raise UserError(f'--{name}={value} must be {rule}.')


def host_and_port(address: str, name: str) -> tuple[str, int]:
    """The parts of an address grpc://host:port, the value of option `name`; raises UserError if it is none."""
    found = re.fullmatch(r'grpc://([^:/\s]+):(\d{1,5})', address)
    if not found or not 0 < int(found[2]) < 2**16:
        raise UserError(f'--{name}={address} must be an address of the form grpc://host:port.')
    return found[1], int(found[2])


def typed(cls: type, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as values of the dataclass' fields, from '769,769', '4', [6, 12, 18] or 'true', or typed already.

    An empty string and None are not given, and left out.

    Raises:
        UserError: a flag that is no field, or a value that is none of its field's type.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    given = {flag: value for flag, value in flags.items() if is_given(value)}
    for flag in given:
        if flag not in names:
            raise UserError(f'the flag is {flag!r} but must be one of {", ".join(names)}')
    return {flag: read(flag, value, hints[flag]) for flag, value in given.items()}


def is_given(value: Any) -> bool:
    """Whether a flag has a value; an array's is never compared with a string."""
    return not (value is None or (isinstance(value, str) and value == ''))


def read(flag: str, value: Any, hint: Any) -> Any:
    """The value of a flag as a type: bool, int, float, str, a tuple of them, or such a type or None.

    Raises:
        UserError: it is spelled as no value of the type.
    """
    try:
        return _read(value, hint)
    except (KeyError, TypeError, ValueError) as error:
        kind = getattr(hint, '__name__', str(hint))
        raise UserError(f'{flag} is {value!r} but must be spelled as {kind}') from error


def _read(value: Any, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return _read(value, next(kind for kind in typing.get_args(hint) if kind is not types.NoneType))
    if typing.get_origin(hint) is tuple:
        parts = value.split(',') if isinstance(value, str) else [value] if isinstance(value, (int, float)) else value
        return tuple(_read(part, typing.get_args(hint)[0]) for part in parts)
    if hint is bool:
        return _TRUTHS[str(value).lower()]
    return _whole(value) if hint is int else hint(value)


def _whole(value: Any) -> int:
    # Where the original takes a list of strides, only one is known to be used.
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)
