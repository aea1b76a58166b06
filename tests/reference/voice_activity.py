"""`voice_activity/`: sounds without a voice, and `voice_activity.json`: what Silero's model says of them and of `speech/`.

PyPI silero-vad==6.2.3 (MIT), `silero_vad/data/silero_vad.onnx`, at 16 kHz; all clips are at that rate. `probabilities` is
the model's output for every 512 samples, `samples` and `seconds` the package's `get_speech_timestamps` with its defaults,
`others` the same in samples with `options`. `speech/sense_*` is the five clips of the book one after another.

The package's own code runs. It imports torch for a few calls that numpy can do as well: without torch (install the package
with --no-deps, packaging and onnxruntime) `Array` stands in for its tensor.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import soundfile as sf

from places import EXAMPLES, FIXTURES

RATE = 16_000
FOLDER = FIXTURES / "voice_activity"
OPTIONS = {
    "cut": {"max_speech_duration_s": 3},
    "cut_in_silence": {"max_speech_duration_s": 3, "min_silence_duration_ms": 500, "min_silence_at_max_speech": 30},
    "cut_in_last_silence": {"max_speech_duration_s": 3, "min_silence_duration_ms": 500, "min_silence_at_max_speech": 30,
                            "use_max_poss_sil_at_max_speech": False},
    "strict": {"threshold": 0.9, "neg_threshold": 0.8, "min_silence_duration_ms": 30, "min_speech_duration_ms": 100,
               "speech_pad_ms": 100},
}


class Array(np.ndarray):
    """The methods of a tensor that the package calls."""

    def dim(self) -> int:
        return self.ndim

    def unsqueeze(self, axis: int) -> "Array":
        return np.expand_dims(self, axis)

    def float(self) -> "Array":
        return self.astype(np.float32)

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


def torch_by_numpy() -> types.ModuleType:
    """The part of torch that the package uses."""
    torch = types.ModuleType("torch")
    tensor = lambda values: np.asarray(values).view(Array)
    torch.Tensor, torch.is_tensor, torch.from_numpy = Array, lambda value: isinstance(value, Array), tensor
    torch.zeros = lambda *shape: tensor(np.zeros(shape[0] if isinstance(shape[0], tuple) else shape, np.float32))
    torch.cat = lambda parts, dim: tensor(np.concatenate(parts, axis=dim))
    torch.nn = types.SimpleNamespace(functional=types.SimpleNamespace(pad=lambda values, sides: tensor(np.pad(values, sides))))
    torch.no_grad = lambda: lambda function: function
    torch.device, torch.set_num_threads = str, lambda count: None
    return torch


try:
    import torch
except ImportError:
    torch = sys.modules["torch"] = torch_by_numpy()
from silero_vad import get_speech_timestamps, load_silero_vad  # noqa: E402


class Listener:
    """The package's model; it keeps what it says."""

    def __init__(self):
        self.model, self.said = load_silero_vad(onnx=True), []

    def reset_states(self) -> None:
        self.said = []
        self.model.reset_states()

    def __call__(self, chunk, rate: int):
        answer = self.model(chunk, rate)
        self.said.append(round(float(answer.item()), 6))
        return answer


def made_up() -> dict:
    """Three seconds each of noise, nothing and a tone, 16 bits."""
    noise = np.random.default_rng(5).normal(0, 0.1, 3 * RATE)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    return {name: np.round(32_767 * np.clip(sound, -1, 1)).astype(np.int16)
            for name, sound in {"noise": noise, "silence": 0 * noise, "tone": tone}.items()}


def timestamps(listener: Listener, sound, **options) -> list:
    return [[int(part["start"]), int(part["end"])] for part in get_speech_timestamps(sound, listener, **options)]


def read(path: Path) -> np.ndarray:
    sound, rate = sf.read(path, dtype="float32")
    assert rate == RATE and sound.ndim == 1
    return sound


def answer(listener: Listener, sound: np.ndarray) -> dict:
    sound = torch.from_numpy(sound)
    samples = timestamps(listener, sound)
    said = listener.said
    seconds = [[part["start"], part["end"]] for part in get_speech_timestamps(sound, listener, return_seconds=True)]
    others = {name: timestamps(listener, sound, **options) for name, options in OPTIONS.items()}
    return {"length": len(sound), "samples": samples, "seconds": seconds, "others": others, "probabilities": said}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, sound in made_up().items():
        sf.write(FOLDER / f"{name}.flac", sound, RATE, subtype="PCM_16")
    paths = sorted((EXAMPLES / "data" / "speech").glob("*.flac")) + sorted(FOLDER.glob("*.flac"))
    sounds = {path.relative_to(FIXTURES).as_posix(): read(path) for path in paths}
    sounds["speech/sense_*"] = np.concatenate([sound for name, sound in sounds.items() if "sense" in name])
    listener = Listener()
    answers = {name: answer(listener, sound) for name, sound in sounds.items()}
    for name, found in answers.items():
        print(name, max(found["probabilities"]), found["samples"], found["others"])
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in answers.items()]
    text = '{"options": ' + json.dumps(OPTIONS) + ',\n"sounds": {\n' + ",\n".join(lines) + "\n}}\n"
    (FIXTURES / "voice_activity.json").write_text(text)


if __name__ == "__main__":
    main()
