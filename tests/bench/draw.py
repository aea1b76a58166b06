"""Drawing in SQL beside the bare loop of the unet in Python: 32 pictures of 256 pixels a side, 10 steps of DDIM with guidance.

    python3 tests/bench/draw.py SENSORIUM [--model FOLDER] [--pictures N] [--rounds N] [--cores N]

SENSORIUM is the release command, FOLDER a diffusers export, by default what `diffusion_model.py` makes. Needs onnxruntime, numpy and
pyarrow. The bare loop runs the unet alone, as often and on as many rows as pictures need, without texts, steps between and
pixels; in batches of one, two and four pictures, one on all cores or one on each, of which the best counts. SQL does the
whole, PNG included. The decoder of pictures is timed by itself, and counted in the second ratio. Loading is not counted.
"""

import argparse
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from measure import shared_seconds
from tasks import data_folder

STEPS, TOKENS, CHANNELS, FACTOR = 10, 77, 4, 8
BATCHES = (1, 2, 4)


def graph(folder: Path, name: str, threads: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(folder / name / "model.onnx", options, providers=["CPUExecutionProvider"])


def on_all(count: int, workers: int, run) -> float:
    """Seconds of `count` runs on so many threads."""
    return shared_seconds([lambda _: run()] * workers, list(range(count)))


def unet_seconds(session, pictures: int, batch: int, workers: int, side: int, width: int) -> float:
    # Guidance asks about each picture twice.
    feeds = {"sample": np.random.rand(2 * batch, CHANNELS, side, side).astype(np.float32), "timestep": np.array(7, np.int64),
             "encoder_hidden_states": np.random.rand(2 * batch, TOKENS, width).astype(np.float32)}
    feeds["timestep"] = feeds["timestep"].reshape([1] * len(session.get_inputs()[1].shape))
    kind = session.get_inputs()[1].type
    feeds["timestep"] = feeds["timestep"].astype(np.float32 if "float" in kind else np.int64)
    return on_all(pictures // batch * STEPS, workers, lambda: session.run(None, feeds))


def sql_seconds(options, batch: int | None) -> float:
    settings = f"SET mm.batch_rows = {batch};" if batch else ""
    with tempfile.TemporaryDirectory() as folder:
        script = f"""CREATE MODEL painter FROM '{options.model}'; SET mm.cache_bytes = 0; {settings}
            SELECT count(mm_generate_image('painter', 'warm up', {{'steps': 2}}));
            SELECT count(mm_generate_image('painter', 'a boat of number ' || value, {{'steps': {STEPS}}}))
            FROM generate_series(1, {options.pictures}) AS t(value)"""
        done = subprocess.run([options.command, "sql", "--models", folder, "-c", script], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(re.findall(r"rows? in ([0-9.]+) s", done.stdout + done.stderr)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", type=Path)
    parser.add_argument("--model", type=Path, default=data_folder() / "diffusion")
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, help="pictures of a batch in SQL, instead of the default")
    options = parser.parse_args()
    layouts = {"on all cores": (options.cores, 1), "on each core": (1, options.cores)}
    unets = {name: graph(options.model, "unet", threads) for name, (threads, _) in layouts.items()}
    inputs = {value.name: value.shape for value in unets["on all cores"].get_inputs()}
    side, width = 256 // FACTOR, inputs["encoder_hidden_states"][-1]
    run = lambda name, batch, pictures: unet_seconds(unets[name], pictures, batch, layouts[name][1], side, width)
    tried = {(name, batch): run(name, batch, 8) for name in layouts for batch in BATCHES for _ in range(2)}
    for (name, batch), seconds in tried.items():
        print(f"unet alone, batches of {batch} {name}: {8 / seconds:.2f} pictures/s", flush=True)
    name, batch = min(tried, key=tried.get)
    decoder = graph(options.model, "vae_decoder", 1)
    latents = np.random.rand(1, CHANNELS, side, side).astype(np.float32)
    rounds = []
    for _ in range(options.rounds):
        unet, sql = run(name, batch, options.pictures), sql_seconds(options, options.batch)
        pixels = on_all(options.pictures, options.cores, lambda: decoder.run(None, {"latent_sample": latents}))
        rounds.append((unet / sql, (unet + pixels) / sql))
        print(f"unet alone {unet:.2f} s, decoder {pixels:.2f} s, SQL {sql:.2f} s", flush=True)
    ratios = [statistics.median(one) for one in zip(*rounds)]
    print(f"batches of {batch} {name}: throughput {ratios[0]:.3f} of the unet's alone, {ratios[1]:.3f} of unet and decoder of pictures")


if __name__ == "__main__":
    main()
