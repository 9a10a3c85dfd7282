"""``import mlvae`` loads no package that only some calls need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlvae

LATER = (
    "torchvision",
    "sklearn",
    "scipy",
    "matplotlib",
    "tensorboard",
    "torch.utils.tensorboard",
    "jinja2",
    "joblib",
    "PIL",
    "pandas",
    "yaml",
    "hydra",
    "omegaconf",
    "IPython",
    "tqdm.auto",
)

CODE = """
import json, sys
import torch
before = set(sys.modules)
import mlvae
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_the_import_loads_no_package_that_only_some_calls_need():
    environment = {**os.environ, "PYTHONPATH": str(Path(mlvae.__file__).parents[1])}
    out = subprocess.check_output([sys.executable, "-c", CODE], env=environment, text=True)
    loaded = json.loads(out)
    assert "mlvae.training.loop" in loaded
    assert [name for name in LATER if name in loaded] == []
    own = [name for name in loaded if name.split(".")[0] == "mlvae"]
    assert len(loaded) - len(own) < 40, sorted(set(loaded) - set(own))
