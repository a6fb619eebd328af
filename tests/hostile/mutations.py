"""Damage to files: what hypothesis cuts, flips and puts in, and the promise that every parser keeps."""

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from deeplab_load.errors import UserError

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

WORDS = [b'', b'\0', b'\xff' * 4, b'\x7f\xff\xff\xff', b'\n', b'..', b'/', b'{"', b'[' * 9, b'-1', b'1e999', b'\x80']


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with some of its bytes altered, cut out, doubled or replaced."""
    return st.integers(0, 2**32).map(lambda seed: mutate(content, random.Random(seed)))


def mutate(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 1, 2, 4, 16, 64)))
        kind = draw.randrange(5)
        if kind == 0:
            data[start:end] = bytes(draw.randrange(256) for _ in range(end - start))
        elif kind == 1:
            del data[start:]
        elif kind == 2:
            data[start:start] = data[start:end]
        elif kind == 3:
            data[start:end] = draw.choice(WORDS)
        elif start < len(data):
            data[start] ^= 1 << draw.randrange(8)
    return bytes(data)


def told(parser, *arguments):
    """What the parser gives, or None where it refuses in one sentence; anything else that it raises is a fault."""
    try:
        return parser(*arguments)
    except UserError as error:
        sentence = str(error)
    assert '\n' not in sentence
    assert len(sentence) < 2000
    return None
