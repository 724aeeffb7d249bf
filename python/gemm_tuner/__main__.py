"""`python -m gemm_tuner` is `gemm-tuner`."""

import sys

from .cli import main

sys.exit(main())
