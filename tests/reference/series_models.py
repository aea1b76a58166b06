"""`series/`: two models of random weights over windows of sensor samples, and `series.json`: what PyTorch gives for
made-up windows.

`patchtst` is transformers' classifier in the layout that Optimum writes: windows of exactly 64 steps. `conv` is a small
convolutional net: windows of any length, and a mask of the steps that are no padding.
"""

import json
import shutil

import numpy as np
import torch
from torch import nn
from transformers import PatchTSTConfig, PatchTSTForClassification

from agreement import apart, check, rounded
from places import FIXTURES
from sound_models import export

FOLDER = FIXTURES / "series"
STEPS, PATCH, STRIDE = 64, 16, 8
PATCHTST_LABELS = ["idle", "running", "worn"]
CONV_LABELS = ["sound", "faulty"]
RESAMPLED = 50
EPSILON = 1e-5


def window(seed: int, steps: int, channels: int) -> np.ndarray:
    """A made-up recording `[steps, channels]`: waves, a slope, knocks and noise on different levels, three decimals."""
    random = np.random.default_rng(seed)
    time = np.arange(steps)[:, None]
    level, slope, height = random.normal(0, 5, channels), random.normal(0, 0.05, channels), random.uniform(0.3, 4, channels)
    waves = height * np.sin(time * random.uniform(0.05, 1.2, channels) + random.uniform(0, 6, channels))
    knocks = (random.random((steps, channels)) < 0.05) * random.normal(0, 3 * height, (steps, channels))
    made = level + slope * time + waves + knocks + random.normal(0, 0.3, (steps, channels))
    return made.round(3)


def spread(model: nn.Module, factor: float) -> nn.Module:
    """Larger weights than untrained ones, and normalisation layers that do something."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight *= factor
        for name, values in model.named_buffers():
            if name.endswith("running_mean"):
                values.normal_(0, 0.3)
            if name.endswith("running_var"):
                values.uniform_(0.5, 2)
    return model.eval()


# PatchTST


def patchtst_windows() -> list:
    """Four windows of 64 steps, one of 40, one of 90; the third and the last lack samples."""
    made = [window(seed, steps, 3) for seed, steps in enumerate([64, 64, 64, 40, 90, 64])]
    made[2][np.random.default_rng(9).random((64, 3)) < 0.15] = np.nan
    made[5][20:30, 1] = np.nan
    made[5][50, :] = np.nan
    return made


def fitted(samples: np.ndarray) -> tuple:
    """The last 64 steps, or zeros after them up to 64; and which values are observed. Missing ones become 0."""
    kept = samples[-STEPS:]
    kept = np.pad(kept, ((0, STEPS - len(kept)), (0, 0)), constant_values=np.nan)
    return np.nan_to_num(kept, nan=0.0).astype(np.float32), ~np.isnan(kept)


def patches(values: torch.Tensor) -> torch.Tensor:
    """`[batch, 3, 7, 16]` of `[batch, 64, 3]`: what PatchTST's own cutting gives, in steps that can be exported."""
    starts = range(0, STEPS - PATCH + 1, STRIDE)
    return torch.stack([values[:, start: start + PATCH].transpose(1, 2) for start in starts], dim=2)


def patchtst() -> dict:
    """The model, and its answers for windows that are brought to 64 steps."""
    torch.manual_seed(21)
    labels = dict(enumerate(PATCHTST_LABELS))
    config = PatchTSTConfig(context_length=STEPS, patch_length=PATCH, patch_stride=STRIDE, num_input_channels=3, num_targets=3,
                            d_model=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=24, do_mask_input=False,
                            id2label=labels, label2id={label: index for index, label in labels.items()})
    config.architectures = ["PatchTSTForClassification"]
    model = spread(PatchTSTForClassification(config), 8)
    folder = FOLDER / "patchtst"
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    windows = patchtst_windows()
    values, observed = (torch.from_numpy(np.stack(both)) for both in zip(*map(fitted, windows)))
    with torch.no_grad():
        logits = model(past_values=values, past_observed_mask=observed).prediction_logits
        unmasked = model(past_values=values).prediction_logits
    apart("patchtst", logits)
    assert (logits - unmasked).abs().amax(dim=1)[[2, 3, 5]].min() > 0.05, "the mask does not matter"
    inputs = {"past_values": values, "past_observed_mask": observed}
    axes = {name: {0: "batch"} for name in [*inputs, "prediction_logits"]}
    path = folder / "model.onnx"
    # The older exporter counts the axes of the patches wrongly.
    model.model.patchifier.forward = patches
    export(lambda values, observed: model(past_values=values, past_observed_mask=observed).prediction_logits, model, inputs,
           ["prediction_logits"], axes, path)
    check(path, inputs, {"prediction_logits": logits})
    check(path, {name: value[:1] for name, value in inputs.items()}, {"prediction_logits": logits[:1]})
    best = [PATCHTST_LABELS[index] for index in logits.argmax(dim=1)]
    return {"steps": STEPS, "labels": PATCHTST_LABELS, "windows": rounded_windows(windows), "logits": rounded(logits),
            "probabilities": rounded(logits.softmax(dim=1)), "best": best}


def rounded_windows(windows: list) -> list:
    """Windows have different lengths: a list for each, of lists of its channels; null is a missing sample."""
    return [rounded(samples) for samples in windows]


# The convolutional net


class Conv(nn.Module):
    """values `[batch, 2, time]`, mask `[batch, time]` -> logits `[batch, 2]`, embedding `[batch, 8]`.

    Steps outside of the mask are 0 before each convolution and are left out of the mean, so padding does not matter.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 12, 5, padding=2)
        self.second = nn.Conv1d(12, 16, 5, padding=4, dilation=2)
        self.embed = nn.Linear(16, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, values, mask):
        present = mask.unsqueeze(1)
        found = torch.relu(self.first(values * present)) * present
        found = torch.relu(self.second(found)) * present
        mean = found.sum(dim=2) / present.sum(dim=2).clamp(min=1.0)
        embedding = torch.tanh(self.embed(mean))
        return self.head(embedding), embedding


def standard(samples: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 in each channel: (x - mean) / sqrt(variance + 1e-5), in float64, then float32."""
    return ((samples - samples.mean(axis=0)) / np.sqrt(samples.var(axis=0) + EPSILON)).astype(np.float32)


def resampled(samples: np.ndarray) -> np.ndarray:
    """50 steps at equal distances from the first sample to the last, on straight lines between samples."""
    places = np.linspace(0, len(samples) - 1, RESAMPLED)
    return np.stack([np.interp(places, np.arange(len(samples)), channel) for channel in samples.T], axis=1)


def batch(windows: list) -> dict:
    """All windows as one padded batch."""
    longest = max(map(len, windows))
    values = np.stack([np.pad(samples, ((0, longest - len(samples)), (0, 0))).T for samples in windows])
    mask = np.stack([np.arange(longest) < len(samples) for samples in windows]).astype(np.float32)
    return {"values": torch.from_numpy(values), "mask": torch.from_numpy(mask)}


def conv() -> dict:
    """The model, and its answers for windows as they are and at 50 steps."""
    torch.manual_seed(27)
    model = spread(Conv(), 2.5)
    with torch.no_grad():
        model.head.weight *= 4
    windows = [window(100 + seed, steps, 2) for seed, steps in enumerate([5, 12, 37, 50, 128, 200])]
    path = FOLDER / "conv" / "model.onnx"
    answers = {}
    for suffix, change in (("", lambda samples: samples), ("_resampled", resampled)):
        alone = [batch([standard(change(samples))]) for samples in windows]
        together = batch([standard(change(samples)) for samples in windows])
        with torch.no_grad():
            logits, embedding = (torch.cat(rows) for rows in zip(*(model(**one) for one in alone)))
            padded = model(**together)
        assert (logits - padded[0]).abs().max() < 1e-5 and (embedding - padded[1]).abs().max() < 1e-5, "padding matters"
        apart("conv" + suffix, logits)
        answers |= {"logits" + suffix: rounded(logits), "embedding" + suffix: rounded(embedding)}
        if not path.exists():
            axes = {name: {0: "batch"} for name in ("values", "mask", "logits", "embedding")}
            axes["values"][2] = axes["mask"][1] = "time"
            export(model, model, together, ["logits", "embedding"], axes, path)
        check(path, together, {"logits": logits, "embedding": embedding})
        check(path, alone[0], {"logits": logits[:1], "embedding": embedding[:1]})
    return {"labels": CONV_LABELS, "windows": rounded_windows(windows), "resampled_steps": RESAMPLED, "epsilon": EPSILON,
            **answers}


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    answers = {"patchtst": patchtst(), "conv": conv()}
    (FIXTURES / "series.json").write_text(json.dumps(answers))
    made = [*FOLDER.rglob("*"), FIXTURES / "series.json"]
    print(f"{sum(path.stat().st_size for path in made if path.is_file()):,} bytes")


if __name__ == "__main__":
    main()
