"""Memory that is freed is kept for what is allocated next."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource
from deeplab_load.allocation import keep_freed_memory
size = 10**8
if {keep}:
    keep_freed_memory()
b'x' * size
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b'x' * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep):
    command = [sys.executable, '-c', COUNT.format(keep=keep)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')
def test_a_large_block_is_not_fetched_page_by_page_again():
    assert 10 * page_faults(True) < page_faults(False)
