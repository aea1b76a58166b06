"""`sound/yamnet/`: a net of random weights with the inputs and outputs of YAMNet, and `sound/yamnet.json`: what TensorFlow
makes of sounds of 16 kHz as YAMNet's `features.py` does, and what the net answers.

`features` and `last` hold the rows `rows` of a sound's first and last patch, `scores` and `embedding` the means over its
patches; `counts` is how many patches a sound of so many samples has. TensorFlow computes in single precision;
`computed_again` is the same in double precision without it, and the two must agree.

PyPI tensorflow-cpu==2.21.0 (Apache-2.0) is not in requirements.txt: it takes 1.3 GB.
"""

import json

import numpy as np
import onnx
import soundfile as sf
import tensorflow as tf

from agreement import apart, rounded
from encoders import session
from graph import FLOAT, constant, model, node, value
from places import EXAMPLES, FIXTURES

ROOT = EXAMPLES.parent
FOLDER = FIXTURES / "sound" / "yamnet"
RATE, WINDOW, HOP, TRANSFORM = 16_000, 400, 160, 512
BANDS, LOWEST, HIGHEST, OFFSET = 64, 125.0, 7500.0, 0.001
FRAMES, PATCH_HOP = 96, 48
SHORTEST = (FRAMES - 1) * HOP + WINDOW
FILES = [*sorted((FIXTURES / "sounds").glob("voice_?.flac")),
         *(EXAMPLES / "data" / "speech" / name for name in ("something.flac", "sense_0870.flac"))]
ROWS = [0, 47, 95]
COUNTED = [1, 15_599, 15_600, 15_601, 23_280, 23_281, 30_960, 160_000]


def padded(sound: np.ndarray) -> np.ndarray:
    """Zeros behind it, so that it has at least one patch and the last one is whole."""
    hops = -(-max(0, len(sound) - SHORTEST) // (PATCH_HOP * HOP))
    return np.pad(sound, (0, SHORTEST + hops * PATCH_HOP * HOP - len(sound)))


def patches(sound: np.ndarray) -> np.ndarray:
    """`[patches, 96, 64]` by TensorFlow."""
    spectrum = tf.abs(tf.signal.stft(tf.constant(padded(sound), tf.float32), WINDOW, HOP, TRANSFORM))
    weights = tf.signal.linear_to_mel_weight_matrix(BANDS, TRANSFORM // 2 + 1, float(RATE), LOWEST, HIGHEST)
    logarithms = tf.math.log(tf.matmul(spectrum, weights) + OFFSET)
    return tf.signal.frame(logarithms, FRAMES, PATCH_HOP, axis=0).numpy()


def computed_again(sound: np.ndarray) -> np.ndarray:
    """The same by numpy in double precision."""
    starts = np.arange(0, len(padded(sound)) - WINDOW + 1, HOP)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    frames = padded(sound).astype(np.float64)[starts[:, None] + np.arange(WINDOW)] * hann
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), BANDS + 2)
    bins = mel(np.linspace(0, RATE / 2, TRANSFORM // 2 + 1))[:, None]
    # Triangles over mel, not over Hertz, of height one.
    rising, falling = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0
    logarithms = np.log(np.abs(np.fft.rfft(frames, TRANSFORM)) @ weights + OFFSET)
    return np.stack([logarithms[first:first + FRAMES] for first in range(0, len(starts) - FRAMES + 1, PATCH_HOP)])


def net() -> onnx.ModelProto:
    """Each of 8 x 8 tiles of a patch to eight numbers, these to an embedding, this to scores: every value counts."""
    random = np.random.default_rng(11)
    normal = lambda name, *shape, deviation: constant(name, random.normal(0, deviation, shape).round(5))
    constants = [
        constant("axis", [1], np.int64), constant("level", [-3.0]),
        normal("tiles", 8, 1, 12, 8, deviation=0.06), normal("tiles_bias", 8, deviation=0.5),
        normal("to_embedding", 8 * 8 * 8, 8, deviation=0.08), normal("embedding_bias", 8, deviation=0.5),
        normal("to_scores", 8, 5, deviation=0.5), normal("scores_bias", 5, deviation=0.5),
    ]
    nodes = [
        node("Sub", "patches level", "centred"),
        node("Unsqueeze", "centred axis", "picture"),
        node("Conv", "picture tiles tiles_bias", "seen", strides=[12, 8]),
        node("Relu", "seen", "bent"),
        node("Flatten", "bent", "flat"),
        node("Gemm", "flat to_embedding embedding_bias", "embedding"),
        node("Gemm", "embedding to_scores scores_bias", "logits"),
        node("Sigmoid", "logits", "scores"),
    ]
    outputs = [value("scores", FLOAT, "n", 5), value("embedding", FLOAT, "n", 8)]
    return model(nodes, [value("patches", FLOAT, "n", FRAMES, BANDS)], outputs, constants)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    onnx.save(net(), FOLDER / "model.onnx")
    run = session(FOLDER / "model.onnx")
    answers = []
    for path in FILES:
        sound, rate = sf.read(path, dtype="float32")
        assert rate == RATE and sound.ndim == 1, path
        found, again = patches(sound), computed_again(sound)
        assert found.shape == again.shape, path
        difference = np.abs(found - again).max()
        assert difference < 1e-3, (path, difference)
        both = [run.run(["scores", "embedding"], {"patches": one.astype(np.float32)}) for one in (found, again)]
        means, means_again = ([output.mean(axis=0, dtype=np.float64) for output in outputs] for outputs in both)
        apart_by = [f"{np.abs(one - other).max():.1e}" for one, other in zip(means, means_again)]
        print(path.name, found.shape, f"from {found.min():.3f} to {found.max():.3f}, double precision within {difference:.1e};",
              f"scores and embedding {' and '.join(apart_by)}")
        answers.append({
            "file": path.relative_to(ROOT).as_posix(), "patches": len(found),
            "scores": rounded(means[0]), "embedding": rounded(means[1]),
            "features": found[0, ROWS].astype(float).round(6).tolist(), "last": found[-1, ROWS].astype(float).round(6).tolist(),
        })
    for name in ("scores", "embedding"):
        apart(name, [answer[name] for answer in answers])
    counts = {samples: len(patches(np.zeros(samples, np.float32))) for samples in COUNTED}
    print(counts)
    lines = ",\n".join(json.dumps(answer) for answer in answers)
    text = f'{{"rows": {ROWS}, "counts": {json.dumps(counts)},\n"sounds": [\n{lines}\n]}}\n'
    (FIXTURES / "sound" / "yamnet.json").write_text(text)


if __name__ == "__main__":
    main()
