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


LEFT = """
import os
from deeplab_load.allocation import forgetting_its_making, keep_freed_memory
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
keep_freed_memory()
def step(size):
    blocks = [b'x' * 10**6 for _ in range(size)]
    end = b'x' * 10**6
    return end  # Above the blocks, so that by itself the C library could not give them back.
before, kept = resident(), []
call = forgetting_its_making(step) if {forgetting} else step
for _ in range({calls}):
    kept.append(call(100))
print(resident() - before)
"""


def printed(program):
    return int(subprocess.run([sys.executable, '-c', program], check=True, capture_output=True, text=True).stdout)


def page_faults(keep):
    return printed(COUNT.format(keep=keep))


pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')


def test_what_making_a_step_took_is_given_back_after_its_first_call_alone():
    once, twice, never = (printed(LEFT.format(forgetting=f, calls=n)) for f, n in ((1, 1), (1, 2), (0, 1)))
    assert once < 2e7 < 8e7 < min(twice, never)


def test_a_large_block_is_not_fetched_page_by_page_again():
    assert 10 * page_faults(True) < page_faults(False)
