"""What all tests share: one thread for torch, so that tests side by side do not wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
