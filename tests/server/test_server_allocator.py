"""The server's allocator keeps freed memory, since states of megabytes come and go."""

import os
import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from ml_trainer_env.server.operations.allocator import keep_freed_memory
keep_freed_memory()
kept = bytearray(20 << 20)
del kept
def count(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = count()
for _ in range(10):
    block = bytearray(20 << 20)
    del block
print(count() - before)
"""
PAGES = 10 * (20 << 20) // resource.getpagesize()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("is_set", [False, True])
def test_a_freed_block_is_used_again_without_new_pages_unless_the_environment_has_settings(is_set: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"MALLOC_TRIM_THRESHOLD_": "131072"} if is_set else {}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    ).stdout

    assert (int(found) < PAGES // 10) != is_set
