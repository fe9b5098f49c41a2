"""`python -m vevolve.evolve.cli`, the same as `vevolve`."""

import sys

from vevolve.evolve.cli import main

sys.exit(main())
