"""absl flags derived from the fields of dataclasses, and their values as such a dataclass."""

import dataclasses
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags

from deeplab_load.errors import UserError
from deeplab_load.training.recipe import Recipe, recipe_defaults

C = TypeVar('C')


def define_flags(cls: type, flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Defines one absl flag for every field of the dataclass `cls`; returns their names."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        _define_flag(field, hints[field.name], flag_values)
    return [field.name for field in dataclasses.fields(cls)]


def parse(argv: Sequence[str], flag_values: flags.FlagValues) -> list[str]:
    """Reads the flags of a command line; returns its other arguments, after the program's name.

    Raises:
      UserError: there is no such flag or value, or a flagfile cannot be read.
    """
    if loose := next((argument for argument in argv if argument.startswith('=')), None):
        raise unexpected(loose)
    try:
        return flag_values(argv)[1:]
    except flags.CantOpenFlagFileError as error:
        cause = error.__context__
        assert isinstance(cause, OSError)
        told = f'--flagfile={cause.filename} cannot be read: {cause.strerror}'
        raise UserError(f'{told}; give a text file with an option a line.') from error
    except (flags.Error, OSError) as error:
        raise UserError(' '.join(str(error).split())) from error
    except UnicodeDecodeError as error:
        raise UserError('A flagfile is not UTF-8 text; give one with an option a line.') from error


def unexpected(argument: str) -> UserError:
    """The mistake of an argument that is no flag, where there may be none."""
    return UserError(f'unexpected argument {argument!r}; options are written --name=value, without spaces.')


class _WholeNumber(flags.IntegerParser):
    """Reads an int, and says so."""

    def convert(self, argument: Any) -> int:
        """The number; raises ValueError with the rule."""
        return _numeral(super().convert, argument, 'a whole number')


class _Number(flags.FloatParser):
    """Reads a float, and says so."""

    def convert(self, argument: Any) -> float:
        """The number; raises ValueError with the rule."""
        return _numeral(super().convert, argument, 'a number')


def _numeral(convert: Callable[[Any], C], argument: Any, rule: str) -> C:
    try:
        return convert(argument)
    except (TypeError, ValueError):
        raise ValueError(f'it must be {rule}') from None


_NUMBERS: dict[type, Any] = {int: _WholeNumber, float: _Number}


class _FirstIfAlone(flags.EnumParser):
    """Reads a choice; a flag without a value, which absl hands on as 'true', is the first."""

    def parse(self, argument: str) -> str:
        """The choice."""
        return super().parse(self.enum_values[0] if argument == 'true' else argument)


def _define_flag(field: dataclasses.Field, hint: Any, flag_values: flags.FlagValues) -> None:
    default: Any = field.default
    text, choices = field.metadata['help'], field.metadata['choices']
    kind = typing.get_origin(_given(hint)) or _given(hint)
    if field.metadata['alone']:
        flag = flags.Flag(_FirstIfAlone(choices), None, field.name, default, text, boolean=True)
        flags.DEFINE_flag(flag, flag_values)
    elif choices:
        flags.DEFINE_enum(field.name, default, choices, text, flag_values=flag_values)
    elif kind is tuple:
        flags.DEFINE_list(field.name, default and [str(v) for v in default], text, flag_values=flag_values)
    elif kind in _NUMBERS:
        flags.DEFINE(_NUMBERS[kind](), field.name, default, text, flag_values, flags.ArgumentSerializer())
    else:
        define = flags.DEFINE_bool if kind is bool else flags.DEFINE_string
        define(field.name, default, text, flag_values=flag_values)


def _given(hint: Any) -> Any:
    """The type of an option that is given: `int` of `int | None`."""
    if isinstance(hint, types.UnionType):
        return next(t for t in typing.get_args(hint) if t is not types.NoneType)
    return hint


def from_flags(cls: type[C], flag_values: flags.FlagValues = flags.FLAGS) -> C:
    """The options as the flags give them; of those that are not given, `--recipe` has its own defaults."""
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = flag_values[field.name].value
        values[field.name] = _items(field.name, value, hints[field.name]) if isinstance(value, list) else value
    if issubclass(cls, Recipe):
        given = [name for name in values if not flag_values[name].using_default_value]
        values |= recipe_defaults(values['recipe'], given)
    return cls(**values)


_ITEMS = {int: 'whole numbers', float: 'numbers'}


def _items(name: str, values: list[str], hint: Any) -> tuple:
    """The items of a list option as the type in its hint, `tuple[int, ...]`."""
    kind = typing.get_args(_given(hint))[0]
    try:
        return tuple(kind(v) for v in values)
    except ValueError:
        raise UserError(f'--{name}={",".join(values)} must be {_ITEMS[kind]} with commas between them.') from None
