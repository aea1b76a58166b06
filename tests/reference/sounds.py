"""`sounds/`: one clip in the formats that are read, made-up voices, and `sounds.parquet`: what libsndfile or ffmpeg decodes.

Nothing is recorded: vowels are pulses through resonances, consonants are noise. M4A files are written by ffmpeg (PyPI
`imageio-ffmpeg`), which also decodes what libsndfile cannot; its rates are not changed, so that only decoders are compared.
"""

import io
import subprocess

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf
from scipy.signal import lfilter

from places import FIXTURES

FOLDER = FIXTURES / "sounds"
RATE = 16_000
VOWELS = [(700, 1_100), (300, 2_300), (400, 800), (500, 1_800), (350, 1_400)]


def voice(seed: int, seconds: float, rate: int = RATE) -> np.ndarray:
    """Syllables of a made-up speaker, `[samples]` from -1 to 1."""
    random = np.random.default_rng(seed)
    parts, pitch = [], random.uniform(90, 220)
    while sum(map(len, parts)) < seconds * rate:
        length = int(random.uniform(0.08, 0.3) * rate)
        if random.random() < 0.3:
            part = random.normal(0, 0.08, length)
        else:
            frequency = pitch * np.linspace(1, random.uniform(0.8, 1.2), length)
            part = np.diff(np.floor(np.cumsum(frequency) / rate), prepend=0)
            for resonance in VOWELS[random.integers(len(VOWELS))]:
                radius = np.exp(-np.pi * 120 / rate)
                part = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * resonance / rate), radius**2], part)
        parts += [part * np.hanning(length), np.zeros(int(random.uniform(0, 0.15) * rate))]
    sound = np.concatenate(parts)[: int(seconds * rate)]
    return (0.6 * sound / np.abs(sound).max()).astype(np.float32)


def ffmpeg(*arguments: str, given: bytes = b"") -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def decoded(path) -> tuple:
    """`[samples]`, the mean of all channels, and the rate."""
    if path.suffix in (".m4a", ".mka"):
        information = sf.info(FOLDER / "clip.flac")
        samples = np.frombuffer(ffmpeg("-i", str(path), "-f", "f32le", "-ac", "1", "-"), np.float32)
        return samples, information.samplerate
    samples, rate = sf.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate


def write_formats() -> list:
    clip = voice(1, 0.3)
    stereo = np.stack([clip, 0.5 * np.roll(clip, 40)], axis=1)
    eight = np.stack([clip * gain for gain in np.linspace(0.2, 1, 8)], axis=1)
    plain = {
        "clip.flac": (clip, "PCM_16"), "clip_8.wav": (clip, "PCM_U8"), "clip_16.wav": (clip, "PCM_16"), "clip_24.wav": (clip, "PCM_24"),
        "clip_float.wav": (clip, "FLOAT"), "clip_ulaw.wav": (clip, "ULAW"), "clip_alaw.wav": (clip, "ALAW"), "clip.aiff": (clip, "PCM_16"),
        "stereo.wav": (stereo, "PCM_16"), "stereo.flac": (stereo, "PCM_24"), "eight.flac": (eight, "PCM_16"),
        "clip.ogg": (clip, "VORBIS"), "stereo.ogg": (stereo, "VORBIS"), "clip.mp3": (clip, "MPEG_LAYER_III"), "stereo.mp3": (stereo, "MPEG_LAYER_III"),
    }
    for name, (samples, subtype) in plain.items():
        sf.write(FOLDER / name, samples, RATE, subtype=subtype)
    wave = io.BytesIO()
    sf.write(wave, clip, RATE, subtype="PCM_16", format="WAV")
    for name, options in {"clip_aac.m4a": ["-c:a", "aac", "-b:a", "48k"], "clip_alac.m4a": ["-c:a", "alac"], "clip.mka": ["-c:a", "flac"]}.items():
        ffmpeg("-y", "-f", "wav", "-i", "-", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", *options, str(FOLDER / name), given=wave.getvalue())
    return [*plain, "clip_aac.m4a", "clip_alac.m4a", "clip.mka"]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = write_formats()
    found = [decoded(FOLDER / name) for name in names]
    samples = pa.array([list(samples) for samples, _ in found], pa.list_(pa.float32()))
    table = pa.table({"name": names, "rate": [rate for _, rate in found], "samples": samples})
    pq.write_table(table, FIXTURES / "sounds.parquet", compression="zstd", use_dictionary=False, column_encoding={"samples.list.element": "BYTE_STREAM_SPLIT", "name": "PLAIN", "rate": "PLAIN"})
    for number, seconds in enumerate([0.4, 1.3, 2.9, 5.3]):
        sf.write(FOLDER / f"voice_{number}.flac", voice(10 + number, seconds), RATE, subtype="PCM_16")
    print(f"{sum(path.stat().st_size for path in FOLDER.iterdir()):,} bytes and {(FIXTURES / 'sounds.parquet').stat().st_size:,}")


if __name__ == "__main__":
    main()
