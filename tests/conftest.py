"""Settings for every test: no network, one thread per worker, reproducible property tests."""

from __future__ import annotations

import os

# Set before transformers is imported anywhere: a test that would download something fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from hypothesis import HealthCheck, settings

# Workers of pytest-xdist share the cores; tiny tensors gain nothing from threads.
torch.set_num_threads(1)

# No deadline: a busy machine is not a failure. Derandomised: a red run is red again when repeated.
settings.register_profile(
    "edgewise", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("edgewise")
