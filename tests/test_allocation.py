"""Memory that is freed is kept for what is allocated next."""

import os
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

TENSORS = """
import resource
import tensorflow as tf
from deeplab_load.allocation import keep_freed_memory
if {keep}:
    keep_freed_memory()
kept = [tf.zeros(10**7) for _ in range(9)]
del kept[::2]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
kept += [tf.zeros(10**7) for _ in range(4)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

LIMIT = """
import os
import tensorflow as tf
from deeplab_load.allocation import keep_freed_memory
keep_freed_memory()
try:
    tf.zeros(5 * 10**7)
except tf.errors.ResourceExhaustedError:
    print(-1)
else:
    print(os.environ['TF_CPU_BFC_MEM_LIMIT_IN_MB'])
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


def printed(program, **environment):
    """The number that a program prints, in an environment without the variables that conftest.py has set."""
    own = {name: value for name, value in os.environ.items() if not name.startswith('TF_CPU_')}
    own |= {'CUDA_VISIBLE_DEVICES': '-1', 'TF_ENABLE_ONEDNN_OPTS': '0'}  # GPUs and oneDNN have other pools.
    own |= environment
    return int(subprocess.run([sys.executable, '-c', program], check=True, stdout=subprocess.PIPE, env=own).stdout)


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')


@needs_glibc
def test_what_making_a_step_took_is_given_back_after_its_first_call_alone():
    once, twice, never = (printed(LEFT.format(forgetting=f, calls=n)) for f, n in ((1, 1), (1, 2), (0, 1)))
    assert once < 2e7 < 8e7 < min(twice, never)


@needs_glibc
@pytest.mark.parametrize('program', [COUNT, TENSORS], ids=['of the C library', 'of tensors'])
def test_a_large_block_is_not_fetched_page_by_page_again(program):
    kept, not_kept = (printed(program.format(keep=keep)) for keep in (True, False))
    assert 10 * kept < not_kept


def test_tensors_may_take_the_memory_of_the_machine():
    assert printed(LIMIT) == os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20


def test_the_environment_goes_first():
    limit = {'TF_CPU_BFC_MEM_LIMIT_IN_MB': '100'}  # A tensor of 200 MB exceeds it, after a wait of ten seconds.
    assert printed(LIMIT, **limit) == -1
    assert printed(LIMIT, **limit, TF_CPU_ALLOCATOR_USE_BFC='false') == 100
