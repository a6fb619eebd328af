"""Whatever bytes a parser is given, it gives a value or one sentence."""

import functools
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile.mutations import QUICK, damaged, told
from tests.hostile.parsers import PARSERS


@functools.cache
def seeds(name: str) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return PARSERS[name].seeds(pathlib.Path(folder))


@pytest.mark.parametrize('name', PARSERS)
def test_damaged_files_are_read_or_refused(name):
    @given(content=st.one_of(st.sampled_from(seeds(name)).flatmap(damaged), st.binary(max_size=64)))
    @QUICK
    def holds(content):
        with tempfile.TemporaryDirectory() as folder:
            told(PARSERS[name].parse, content, pathlib.Path(folder))

    holds()
