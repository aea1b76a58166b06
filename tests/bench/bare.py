"""The bare model in Python: ONNX Runtime on tensors made beforehand, in the batch size and thread layout that
benches/floor.rs found best. `python bare.py PACKAGE TABLE COLUMNS OUTPUT SIZE,SESSIONS ROWS` prints one line of JSON."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from models import picture


def text_batches(folder: Path, texts: list, size: int) -> list:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.no_padding()
    tokens = sorted((one.ids for one in tokenizer.encode_batch_fast(texts)), key=len, reverse=True)
    batches = []
    while tokens:
        rows = tokens[:max(1, size // len(tokens[0]))]
        tokens = tokens[len(rows):]
        ids = np.zeros((len(rows), len(rows[0])), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, :len(row)], mask[place, :len(row)] = row, 1
        batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
    return batches


def main() -> None:
    folder, source, columns, output, setting, rows = sys.argv[1:]
    folder, columns, (size, sessions) = Path(folder), columns.split(","), (int(part) for part in setting.split(","))
    table = pq.read_table(source, columns=columns).slice(0, int(rows))
    if columns == ["text"]:
        batches = text_batches(folder, table["text"].to_pylist(), size)
    elif columns == ["path"]:
        with ThreadPoolExecutor() as pool:
            pictures = list(pool.map(picture, table["path"].to_pylist()))
        batches = [{"pixel_values": np.stack(pictures[first:first + size])} for first in range(0, len(pictures), size)]
    else:
        values = np.column_stack([table[name].to_numpy().astype(np.float32) for name in columns])
        batches = [{"x": values[first:first + size]} for first in range(0, len(values), size)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = max(1, os.cpu_count() // sessions)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = folder / "model.onnx"
    graph = graph if graph.exists() else folder / "onnx" / "model.onnx"
    opened = [onnxruntime.InferenceSession(graph, options) for _ in range(sessions)]
    waiting = iter(batches)

    def work(session) -> None:
        for batch in waiting:
            session.run([output], batch)

    for session in opened:
        session.run([output], batches[-1])
    start = time.perf_counter()
    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(work, opened))
    print(json.dumps({"model_s": time.perf_counter() - start, "rows": table.num_rows}))


if __name__ == "__main__":
    main()
