"""Transcribing in SQL beside the bare encoder and decoder: 200 clips of speech, batched the same way on all cores.

    python3 tests/bench/transcribe.py SENSORIUM [--rounds N] [--batch ROWS] [--cores N]

SENSORIUM is the release command. Needs onnxruntime, numpy, soundfile and tokenizers. Says first whether both write the same. The bare loop takes spectrograms that
were made before the clock starts, and writes without times: one session with one thread for each core, each with its
own batches, the merged decoder with its cache, rows that have ended staying in the batch. Loading is not counted.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from tokenizers import Tokenizer

from measure import shared_seconds

ROOT = Path(__file__).parents[2]
SPEECH = ROOT / "examples" / "data" / "speech"
MODEL = Path.home() / ".cache" / "sensorium" / "models" / "whisper-tiny.en"
CLIPS = 200
RATE, WINDOW, N_FFT, HOP, MELS = 16_000, 480_000, 400, 160, 80


def mel_filters() -> np.ndarray:
    """Slaney's bands, `[mels, bins]`."""
    to_hertz = lambda mel: np.where(mel < 15, mel * 200 / 3, 1_000 * np.exp((mel - 15) * np.log(6.4) / 27))
    corners = to_hertz(np.linspace(0, 15 + np.log(8) * 27 / np.log(6.4), MELS + 2))
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (corners[2:] - corners[:-2])[:, None]


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Whisper's features of one window, `[mels, frames]`."""
    padded = np.pad(np.pad(samples, (0, WINDOW - len(samples))), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][: WINDOW // HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(N_FFT + 1)[:-1])) ** 2
    logs = np.log10(np.maximum(mel_filters() @ power.T, 1e-10))
    return ((np.maximum(logs, logs.max() - 8) + 4) / 4).astype(np.float32)


class Bare:
    """The two graphs on one core."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        load = lambda name: onnxruntime.InferenceSession(MODEL / "onnx" / name, options, providers=["CPUExecutionProvider"])
        self.encoder, self.decoder = load("encoder_model.onnx"), load("decoder_model_merged.onnx")
        self.past = [value for value in self.decoder.get_inputs() if value.name.startswith("past_key_values")]
        self.outputs = [value.name for value in self.decoder.get_outputs()]
        self.config = json.loads((MODEL / "generation_config.json").read_text())

    def write(self, features: np.ndarray) -> np.ndarray:
        """Tokens `[rows, tokens]`, filled up with the last."""
        end, rows = self.config["eos_token_id"], len(features)
        states = self.encoder.run(None, {"input_features": features})[0]
        tokens = np.tile([self.config["decoder_start_token_id"], self.config["no_timestamps_token_id"]], (rows, 1))
        cache = {value.name: np.zeros((rows, value.shape[1], 1, value.shape[3]), np.float32) for value in self.past}
        given, is_first, ended = tokens, True, np.zeros(rows, bool)
        while not ended.all() and tokens.shape[1] < 448:
            found = dict(zip(self.outputs, self.decoder.run(None, {"input_ids": given, "encoder_hidden_states": states, **cache, "use_cache_branch": np.array([not is_first])})))
            scores = found["logits"][:, -1]
            scores[:, self.config["suppress_tokens"] + (self.config["begin_suppress_tokens"] if is_first else [])] = -np.inf
            given = np.where(ended, end, scores.argmax(axis=1))[:, None]
            ended |= given[:, 0] == end
            tokens = np.concatenate([tokens, given], axis=1)
            cache = {name: found[name.replace("past_key_values", "present")] if is_first or ".decoder." in name else value for name, value in cache.items()}
            is_first = False
        return tokens


def bare_seconds(workers: list, batches: list) -> float:
    return shared_seconds([worker.write for worker in workers], batches)


def check(command: Path, sounds: list) -> None:
    """The same texts, clip by clip."""
    bare, tokenizer = Bare(), Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    expected = [tokenizer.decode(bare.write(sound[None])[0].tolist()).strip() for sound in sounds]
    names = [f"('examples/data/speech/{path.name}')" for path in sorted(SPEECH.glob("*.flac"))]
    with tempfile.TemporaryDirectory() as folder:
        script = f"CREATE MODEL whisper FROM '{MODEL}' OPTIONS (timestamps = false); SELECT mm_transcribe('whisper', uri).text AS text FROM (VALUES {', '.join(names)}) AS t(uri)"
        done = subprocess.run([command, "sql", "--models", folder, "--format", "jsonl", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    found = [json.loads(line)["text"].strip() for line in done.stdout.splitlines() if '"text"' in line]
    same = sum(one == other for one, other in zip(expected, found, strict=True))
    print(f"{same} of {len(expected)} texts are those of the bare loop", flush=True)
    assert same == len(expected), [pair for pair in zip(expected, found) if pair[0] != pair[1]]


def sql_seconds(command: Path, batch: int) -> float:
    names = sorted(path.name for path in SPEECH.glob("*.flac"))
    clips = f"(SELECT 'examples/data/speech/' || {names}[1 + CAST(value AS BIGINT) % {len(names)}] AS uri FROM generate_series(1, {CLIPS}) AS t(value))"
    with tempfile.TemporaryDirectory() as folder:
        script = f"""CREATE MODEL whisper FROM '{MODEL}' OPTIONS (timestamps = false);
            SET mm.distinct = 'never'; SET mm.cache_bytes = 0; SET mm.batch_rows = {batch};
            SELECT mm_transcribe('whisper', 'examples/data/speech/{names[0]}').text;
            SELECT sum(length(mm_transcribe('whisper', uri).text)) FROM {clips}"""
        done = subprocess.run([command, "sql", "--models", folder, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(re.findall(r"rows? in ([0-9.]+) s", done.stdout + done.stderr)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    sounds = [spectrogram(soundfile.read(path, dtype="float32")[0]) for path in sorted(SPEECH.glob("*.flac"))]
    check(options.command, sounds)
    features = [sounds[(place + 1) % len(sounds)] for place in range(CLIPS)]
    batches = [np.stack(features[start: start + options.batch]) for start in range(0, CLIPS, options.batch)]
    workers = [Bare() for _ in range(options.cores)]
    bare_seconds(workers, batches[: options.cores])
    rounds = []
    for _ in range(options.rounds):
        rounds.append((bare_seconds(workers, batches), sql_seconds(options.command, options.batch)))
        print(f"bare {rounds[-1][0]:.2f} s, SQL {rounds[-1][1]:.2f} s", flush=True)
    bare, sql = (statistics.median(times) for times in zip(*rounds))
    ratio = statistics.median(bare / sql for bare, sql in rounds)
    print(f"{CLIPS} clips in batches of {options.batch}: bare {bare:.2f} s, SQL {sql:.2f} s, throughput {ratio:.2f} of the bare loop's")


if __name__ == "__main__":
    main()
