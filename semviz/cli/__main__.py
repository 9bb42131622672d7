"""`python -m semviz.cli`."""

import sys

from semviz.cli import main

sys.exit(main())
