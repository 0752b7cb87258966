"""`python -m permuted_mnist`: the command `permuted-mnist`."""

import sys

from permuted_mnist.cli import main

sys.exit(main())
