"""Is an exported graph the same function as the PyTorch model that it was made from?"""

from pathlib import Path

import numpy as np

from encoders import session

TOLERANCE = 1e-5


def check(path: Path, inputs: dict, expected: dict) -> None:
    """ONNX Runtime gives the `expected` outputs, both by name, within 1e-5 of the largest number of each."""
    names = list(expected)
    found = session(path).run(names, {name: np.asarray(value) for name, value in inputs.items()})
    for name, got in zip(names, found):
        want = np.asarray(expected[name])
        assert got.shape == want.shape, (path, name, got.shape, want.shape)
        difference = np.abs(got - want).max() / max(1, np.abs(want).max())
        assert difference < TOLERANCE, (path, name, difference)
        print(f"{path.parent.name}/{path.name}: {name} {got.shape} within {difference:.1e} of PyTorch")


def rounded(values) -> list:
    """Nested lists of seven significant digits, which is what float32 holds; not a number becomes null."""
    values = np.asarray(values)
    if values.ndim:
        return [rounded(one) for one in values]
    return None if np.isnan(values) else float(f"{float(values):.7g}")


def apart(name: str, values, least: float = 0.05) -> None:
    """Two rows that are nearly alike would hide a mistake: the nearest two differ by `least` in some number."""
    rows = np.asarray(values).reshape(len(values), -1)
    nearest = min(np.abs(one - other).max() for index, one in enumerate(rows) for other in rows[:index])
    assert nearest > least, f"{name}: two rows differ by {nearest}"
    print(f"{name}: from {rows.min():.3f} to {rows.max():.3f}, the nearest rows differ by {nearest:.3f}")
