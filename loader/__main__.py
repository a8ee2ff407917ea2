"""`python -m loader` is `customerio-loader`."""

import sys

from loader.cli import main

sys.exit(main())
