"""Where the reference scripts read models and write fixtures and example models."""

import argparse
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MODELS = Path.home() / ".cache" / "sensorium" / "models"


def models_folder(description: str) -> Path:
    """The folder that holds `minilm/` and `efficientnet-lite0/`, from `--models`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--models", type=Path, default=MODELS, help="default: %(default)s")
    return parser.parse_args().models
