"""Writing in SQL beside the bare decoder in Python: 1,000 prompts of mixed length, answers that end where they will.

    python3 tests/bench/generate.py SENSORIUM [--model FOLDER] [--prompts N] [--rounds N] [--tokens N] [--cores N]
    python3 tests/bench/generate.py SENSORIUM check    # the same texts as a loop over one row at a time

SENSORIUM is the release command; FOLDER is an export of a model that continues texts, by default Gemma 3 of 270 million parameters,
which `language_model.py` makes. Needs onnxruntime, numpy, pyarrow and tokenizers, and the texts of `make_data.py`.

SQL reads prompts of 4 to 60 tokens and the one that begins texts, and writes until a full stop or `--tokens`. The bare loop is given the same work as evenly as
it can be: as many prompts, all of their mean length, each answered by the mean number of tokens, in static batches with nothing
filled up, whose size and threads are the best that it finds on a tenth of the prompts. Tokens are those that are written. Loading
is not counted.
"""

import argparse
import random
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from measure import shared_seconds
from tasks import data_folder

STOP = "."
SHORTEST, LONGEST = 4, 60
BATCHES = (16, 32, 64)
CHECKED = 60


class Bare:
    """The graph, each run of which has `threads`."""

    def __init__(self, folder: Path, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.inputs = self.session.get_inputs()
        self.outputs = [value.name for value in self.session.get_outputs()]

    def write(self, prompts: np.ndarray, tokens: int, is_over=lambda written: False) -> np.ndarray:
        """The likeliest `tokens` behind prompts `[rows, length]`, or fewer where `is_over` of what is written."""
        rows, written, given = len(prompts), [], prompts
        carried = {value.name: np.zeros((rows, value.shape[1], 0, value.shape[3]), np.float32)
                   for value in self.inputs if value.name.startswith("past_key_values")}
        names = {value.name for value in self.inputs}
        seen = 0
        while len(written) < tokens:
            seen += given.shape[1]
            feeds = {"input_ids": given, "attention_mask": np.ones((rows, seen), np.int64),
                     "position_ids": np.tile(np.arange(seen - given.shape[1], seen), (rows, 1))}
            found = dict(zip(self.outputs, self.session.run(None, {name: value for name, value in feeds.items() if name in names} | carried)))
            given = found["logits"][:, -1].argmax(axis=1)[:, None]
            written.append(given)
            if is_over(np.concatenate(written, axis=1)):
                break
            carried = {name: found[name.replace("past_key_values", "present")] for name in carried}
        return np.concatenate(written, axis=1)


def mixed_prompts(tokenizer: Tokenizer, count: int) -> list:
    """Beginnings of the texts, as many tokens as chance says."""
    chance = random.Random(8)
    texts = pq.read_table(data_folder() / "texts.parquet").column("text").to_pylist()
    texts = [text for text in texts if len(text) > 6 * LONGEST]
    chance.shuffle(texts)
    encoded = (tokenizer.encode(text, add_special_tokens=False).ids[:chance.randint(SHORTEST, LONGEST)] for text in texts)
    return [tokenizer.decode(ids).strip() for ids, _ in zip(encoded, range(count))]


def bare_seconds(workers: list, prompts: np.ndarray, batch: int, tokens: int) -> float:
    batches = [prompts[start: start + batch] for start in range(0, len(prompts), batch)]
    return shared_seconds([lambda own, worker=worker: worker.write(own, tokens) for worker in workers], batches)


def run_sql(options, table: Path, settings: str, select: str, keep: Path | None = None) -> float:
    """Seconds of the statement."""
    with tempfile.TemporaryDirectory() as folder:
        script = f"""CREATE MODEL writer FROM '{options.model}'; SET mm.cache_bytes = 0; {settings}
            SELECT mm_generate('writer', 'Warm up', {{'max_tokens': 2}});
            {select.replace('{table}', f"'{table}'")}"""
        command = [options.command, "sql", "--models", folder, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(re.findall(r"rows? in ([0-9.]+) s", done.stdout + done.stderr)[-1])


def answers(options, table: Path, settings: str) -> tuple:
    """Seconds, and `(texts, tokens)` of the answers."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "answers.parquet"
        asked = f"{{'max_tokens': {options.tokens}, 'stop': ['{STOP}']}}"
        select = f"COPY (SELECT mm_try_generate('writer', prompt, {asked}) AS a FROM {{table}}) TO '{made}'"
        seconds = run_sql(options, table, settings, select)
        found = [answer.as_py()["value"] for answer in pq.read_table(made).column("a").combine_chunks()]
    return seconds, [answer["text"] for answer in found], [answer["tokens"] for answer in found]


def check(options, tokenizer: Tokenizer, table: Path, prompts: list) -> None:
    bare = Bare(options.model, options.cores)
    _, texts, _ = answers(options, table, "")
    ends = {tokenizer.token_to_id(token) for token in ("<eos>", "<end_of_turn>")}
    others = 0
    for prompt, text in zip(prompts, texts):
        ids = np.array([tokenizer.encode(prompt).ids])
        is_over = lambda written: written[0, -1] in ends or STOP in tokenizer.decode(written[0])
        expected = tokenizer.decode([token for token in bare.write(ids, options.tokens, is_over)[0] if token not in ends]).split(STOP)[0]
        if expected != text:
            others += 1
            print(f"behind {prompt!r}\n  the loop writes {expected!r}\n  SQL writes      {text!r}")
    print(f"{len(prompts) - others} of {len(prompts)} texts are those of the loop")
    raise SystemExit(others > 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", type=Path)
    parser.add_argument("what", nargs="?", choices=["throughput", "check"], default="throughput")
    parser.add_argument("--model", type=Path, default=data_folder() / "gemma3-270m")
    parser.add_argument("--prompts", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batch", type=int, help="rows of a batch in SQL, instead of the default")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    prompts = mixed_prompts(tokenizer, CHECKED if options.what == "check" else options.prompts)
    with tempfile.TemporaryDirectory() as folder:
        table, few = Path(folder) / "prompts.parquet", Path(folder) / "few.parquet"
        pq.write_table(pa.table({"prompt": prompts}), table)
        tenth = prompts[::10]
        pq.write_table(pa.table({"prompt": tenth}), few)
        if options.what == "check":
            check(options, tokenizer, table, prompts)
        settings = f"SET mm.batch_rows = {options.batch};" if options.batch else ""
        measure(options, tokenizer, prompts, table, few, settings)


def measure(options, tokenizer: Tokenizer, prompts: list, table: Path, few: Path, settings: str) -> None:
    lengths = [len(tokenizer.encode(prompt).ids) for prompt in prompts]
    length = round(statistics.mean(lengths))
    _, _, written = answers(options, few, settings)
    tokens = round(statistics.mean(written))
    print(f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens, mean {length}; answers of {min(written)} to {max(written)}, mean {tokens}")
    ids = [tokenizer.encode(prompt).ids for prompt in prompts]
    equal = np.array([(own * (length // len(own) + 1))[:length] for own in ids])
    layouts = {"a batch on all cores": (options.cores, 1), "a batch on each core": (1, options.cores)}
    tried = {}
    for name, (threads, count) in layouts.items():
        # Runs of one session may go on side by side.
        workers = [Bare(options.model, threads)] * count
        bare_seconds(workers, equal[:8], 4, 2)
        for batch in BATCHES:
            sample = equal[:max(len(equal) // 10 // batch, count) * batch]
            seconds = bare_seconds(workers, sample, batch, tokens)
            tried[name, batch] = len(sample) * tokens / seconds
            print(f"bare, {name}, batches of {batch}: {tried[name, batch]:.1f} tokens/s", flush=True)
    name, batch = max(tried, key=tried.get)
    threads, count = layouts[name]
    rounds = []
    for _ in range(options.rounds):
        workers = [Bare(options.model, threads)] * count
        bare_seconds(workers, equal[:8], 4, 2)
        bare = len(equal) * tokens / bare_seconds(workers, equal, batch, tokens)
        # The memory of one beside the other would be too much.
        del workers
        seconds, _, written = answers(options, table, settings)
        sql = sum(written) / seconds
        seconds, _, written = answers(options, few, "SET mm.batch_rows = 1;")
        rounds.append((bare, sql, sum(written) / seconds))
        print("bare {:.1f}, SQL {:.1f}, SQL one row at a time {:.1f} tokens/s".format(*rounds[-1]), flush=True)
    ratios = [(sql / bare, sql / alone) for bare, sql, alone in rounds]
    print(f"best static batch: {batch}, {name}. SQL / bare {statistics.median(one for one, _ in ratios):.2f} "
          f"({min(one for one, _ in ratios):.2f}-{max(one for one, _ in ratios):.2f}), "
          f"SQL / one row at a time {statistics.median(one for _, one in ratios):.2f}")


if __name__ == "__main__":
    main()
