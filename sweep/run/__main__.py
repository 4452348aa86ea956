"""`python -m sweep.run ID --sweep DIR`: execute one run."""

import sys

from sweep.run.worker import main

sys.exit(main())
