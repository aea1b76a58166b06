"""No engine: a script tuned for one machine. All texts are sorted by length and cut at 512 tokens, equal texts run
once, pictures are decoded by the thread that runs them, one ONNX Runtime thread for each core."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models import PICTURE_WIDTH, TEXT_WIDTH, model_of, picture, pooled, vectors
from tasks import COLUMNS, FUSED_COLUMNS, LEAST_SIMILARITY, QUESTION, data_folder, least_amount

CORES = os.cpu_count()
TOKENS, PICTURES, ROWS, READ_ROWS = 512, 4, 4_096, 500_000


def everywhere(work, items) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, items))


def embed(model, texts: list) -> np.ndarray:
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    model.tokenizer.no_padding()
    tokens = [one.ids for one in model.tokenizer.encode_batch_fast(list(places))]
    order, batches = sorted(range(len(tokens)), key=lambda row: -len(tokens[row])), []
    while order:
        size = max(1, TOKENS // len(tokens[order[0]]))
        batches.append(order[:size])
        order = order[size:]
    found = np.empty((len(tokens), TEXT_WIDTH), np.float32)

    def run(rows) -> None:
        ids = np.zeros((len(rows), len(tokens[rows[0]])), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, :len(tokens[row])], mask[place, :len(tokens[row])] = tokens[row], 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        found[rows] = pooled(model.session.run(["last_hidden_state"], feeds)[0], mask)

    everywhere(run, batches)
    return found if len(places) == len(texts) else found[[places[text] for text in texts]]


def look(model, paths: list, output: str, width: int) -> np.ndarray:
    found = np.empty((len(paths), width), np.float32)

    def run(first) -> None:
        batch = np.stack([picture(path) for path in paths[first:first + PICTURES]])
        found[first:first + PICTURES] = model.session.run([output], {"pixel_values": batch})[0]

    everywhere(run, range(0, len(paths), PICTURES))
    return found


def prepare(task: str):
    model = model_of(task, threads=1)

    def text(source, target):
        table = pq.read_table(source)
        pq.write_table(pa.table({"id": table["id"], "embedding": vectors(embed(model, table["text"].to_pylist()))}), target)

    def pictures(source, target):
        table = pq.read_table(source)
        logits = look(model, table["path"].to_pylist(), "logits", 1_000)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        pq.write_table(pa.table({"id": table["id"], "label": shares.argmax(1), "score": shares.max(1)}), target)

    def numbers(source, target):
        output, place = ("probabilities", 1) if task == "trees" else ("score", 0)
        with pq.ParquetWriter(target, pa.schema([("id", pa.int64()), ("score", pa.float32())])) as writer:
            for batch in pq.ParquetFile(source).iter_batches(READ_ROWS):
                values = np.empty((batch.num_rows, len(COLUMNS)), np.float32)
                for number, name in enumerate(COLUMNS):
                    values[:, number] = batch[name].to_numpy()
                scores = np.empty(batch.num_rows, np.float32)

                def run(first) -> None:
                    scores[first:first + ROWS] = model.session.run([output], {"x": values[first:first + ROWS]})[0][:, place]

                everywhere(run, range(0, batch.num_rows, ROWS))
                writer.write_batch(pa.record_batch({"id": batch["id"], "score": scores}))

    def selective(source, target):
        amounts = pq.read_table(data_folder() / "amounts.parquet", filters=[("amount", ">", least_amount())])
        table = pq.read_table(source).join(amounts, "id", join_type="inner")
        question, rows = embed(model, [QUESTION])[0], embed(model, table["text"].to_pylist())
        table = pa.table({"id": table["id"], "score": rows @ question})
        pq.write_table(table.filter(pc.greater(table["score"], LEAST_SIMILARITY)), target)

    def fused(source, target):
        table = pq.read_table(source)
        feeds = {"numbers": np.column_stack([table[name].to_numpy() for name in FUSED_COLUMNS]),
                 "text": embed(model.texts, table["text"].to_pylist()),
                 "picture": look(model.pictures, table["path"].to_pylist(), "embedding", PICTURE_WIDTH)}
        pq.write_table(pa.table({"id": table["id"], "score": model.head.run(["score"], feeds)[0][:, 0]}), target)

    return {"text": text, "duplicates": text, "pictures": pictures, "trees": numbers, "perceptron": numbers,
            "selective": selective, "fused": fused}[task]
