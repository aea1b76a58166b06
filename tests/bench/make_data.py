"""Makes the tables and models of the benchmarks, the same at every run: `python make_data.py FOLDER`.

Needs the packages of requirements.txt and, from `sensorium setup`, the models minilm and efficientnet-lite0.

Tables (Parquet): texts (20,000 English texts, median 26 tokens, longest 256), amounts (a number for each text, to
join), duplicates (500,000 rows of 2,000 texts, Zipf-distributed), distinct (those 2,000), selected (the texts behind
the 1% largest amounts), pictures (2,000 JPEGs of 300 to 2,000 pixels a side), numbers (5 million rows, 17 floats and
6 integers), fused (2,000 rows of 8 numbers, a text and a picture).

The texts are sentences of the corpora that the source package of vaderSentiment ships, and runs of them; the pictures
are crops of the photographs in scikit-image and scikit-learn.
"""

import html
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks import COLUMNS, FUSED_COLUMNS, LEAST_AMOUNT_SHARE, packages_folder

CORPORA = ["movieReviewSnippets", "tweets", "amazonReviewSnippets", "nytEditorialSnippets"]
TEXTS, DIFFERENT, DUPLICATES, PICTURES, NUMBERS, FUSED = 20_000, 2_000, 500_000, 2_000, 5_000_000, 2_000


def write(folder: Path, name: str, columns: dict, row_group_size: int) -> None:
    pq.write_table(pa.table(columns), folder / f"{name}.parquet", row_group_size=row_group_size)


def corpora() -> dict:
    """For each corpus its (document, sentence) pairs, in the order of the file."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                        "--dest", place, "vaderSentiment==3.3.2"], check=True)
        with tarfile.open(next(Path(place).glob("*.tar.gz"))) as package:
            inner = next(member for member in package.getmembers() if member.name.endswith("hutto_ICWSM_2014.tar.gz"))
            data = tarfile.open(fileobj=io.BytesIO(package.extractfile(inner).read()))
            found = {}
            for corpus in CORPORA:
                member = next(member for member in data.getmembers() if member.name.endswith(f"{corpus}_GroundTruth.txt"))
                lines = data.extractfile(member).read().decode("utf-8", "replace").splitlines()
                rows = [line.split("\t", 2) for line in lines]
                found[corpus] = [(row[0].split("_")[0], html.unescape(row[2]).strip()) for row in rows]
    return found


def texts(random: np.random.Generator) -> list:
    """Single sentences, and runs of 2 to 16 sentences of one document for the long tail; all different."""
    found = corpora()
    chosen = dict.fromkeys(text for corpus in CORPORA[:2] for _, text in found[corpus] if text)
    documents = {}
    for corpus in CORPORA[2:]:
        for document, sentence in found[corpus]:
            documents.setdefault((corpus, document), []).append(sentence)
    sentences = [sentence for document in documents.values() for sentence in document]
    chosen.update(dict.fromkeys(sentences[place] for place in random.permutation(len(sentences))[:3_200]))
    names = list(documents)
    while len(chosen) < TEXTS:
        document = documents[names[random.integers(len(names))]]
        length = min(len(document), 2 + int(random.geometric(0.3)))
        first = int(random.integers(0, len(document) - length + 1))
        chosen[" ".join(document[first:first + length])] = None
    chosen = list(chosen)[:TEXTS]
    return [chosen[place] for place in random.permutation(TEXTS)]


def make_texts(folder: Path) -> list:
    rows = texts(np.random.default_rng(1))
    random = np.random.default_rng(2)
    amounts = np.round(random.lognormal(3, 1, TEXTS), 2)
    write(folder, "texts", {"id": np.arange(TEXTS), "text": rows}, 5_000)
    order = random.permutation(TEXTS)
    write(folder, "amounts", {"id": order, "amount": amounts[order]}, 5_000)
    least = np.quantile(amounts, LEAST_AMOUNT_SHARE)
    write(folder, "selected", {"text": [text for text, amount in zip(rows, amounts) if amount > least]}, 5_000)
    (folder / "least_amount").write_text(str(least))
    write(folder, "distinct", {"text": rows[:DIFFERENT]}, 5_000)
    share = 1 / np.arange(1, DIFFERENT + 1) ** 1.1
    picked = random.choice(DIFFERENT, DUPLICATES, p=share / share.sum())
    # Each occurs at least once.
    picked[random.choice(DUPLICATES, DIFFERENT, replace=False)] = np.arange(DIFFERENT)
    write(folder, "duplicates", {"id": np.arange(DUPLICATES), "text": np.array(rows, object)[picked].tolist()}, 50_000)
    return rows


def photographs() -> list:
    import skimage
    import sklearn
    from PIL import Image

    names = ["astronaut.png", "motorcycle_left.png", "motorcycle_right.png", "coffee.png", "chelsea.png", "retina.jpg",
             "hubble_deep_field.jpg", "rocket.jpg", "ihc.png", "brick.png", "grass.png", "gravel.png", "camera.png", "coins.png"]
    paths = [Path(skimage.__file__).parent / "data" / name for name in names]
    paths += [Path(sklearn.__file__).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")]
    return [Image.open(path).convert("RGB") for path in paths]


def make_pictures(folder: Path) -> list:
    from PIL import Image

    sources, random = photographs(), np.random.default_rng(3)
    target = folder / "pictures"
    target.mkdir(exist_ok=True)
    plans = []
    for number in range(PICTURES):
        source = sources[random.integers(len(sources))]
        width, height = (int(side * random.uniform(0.45, 1)) for side in source.size)
        left, top = int(random.integers(0, source.width - width + 1)), int(random.integers(0, source.height - height + 1))
        scale = np.exp(random.uniform(np.log(300), np.log(2_000))) / max(width, height)
        size = max(64, int(width * scale)), max(64, int(height * scale))
        options = {"quality": int(random.integers(60, 96)), "subsampling": int(random.integers(0, 3)),
                   "progressive": bool(random.random() < 0.1)}
        plans.append((target / f"{number:05}.jpg", source, (left, top, left + width, top + height), size, options))

    def make(plan) -> str:
        path, source, box, size, options = plan
        source.crop(box).resize(size, Image.BICUBIC).save(path, **options)
        return str(path)

    with ThreadPoolExecutor() as pool:
        paths = list(pool.map(make, plans))
    write(folder, "pictures", {"id": np.arange(PICTURES), "path": paths}, 500)
    return paths


def numbers(rows: int, seed: int) -> dict:
    """Normal, log-normal and uniform floats in turn, and integers of several ranges."""
    random = np.random.default_rng(seed)
    draw = [lambda: random.normal(0, 1, rows), lambda: random.lognormal(0, 1, rows), lambda: random.random(rows)]
    columns = {name: draw[place % 3]().astype(np.float32) for place, name in enumerate(COLUMNS[:17])}
    for name, values in zip(COLUMNS[17:], (2, 5, 12, 50, 366, 10_000)):
        columns[name] = random.integers(0, values, rows, dtype=np.int32)
    return columns


def perceptron(widths: list, inputs: list, seed: int):
    """An untrained multi-layer perceptron over `inputs` (name, width), joined; ends in one sigmoid, `score`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, weights = np.random.default_rng(seed), [], []
    last = inputs[0][0]
    if len(inputs) > 1:
        nodes.append(helper.make_node("Concat", [name for name, _ in inputs], ["joined"], axis=1))
        last = "joined"
    for layer, (width, height) in enumerate(zip(widths, widths[1:])):
        weight = random.normal(0, (2 / width) ** 0.5, (width, height)).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"w{layer}"), numpy_helper.from_array(np.zeros(height, np.float32), f"b{layer}")]
        is_last = layer == len(widths) - 2
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"sum{layer}"]))
        last = "score" if is_last else f"hidden{layer}"
        nodes.append(helper.make_node("Sigmoid" if is_last else "Relu", [f"sum{layer}"], [last]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width]) for name, width in inputs]
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])
    graph = helper.make_graph(nodes, "perceptron", values, [score], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def trees():
    """LightGBM, 100 trees of 31 leaves, on made-up labels."""
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    table = numbers(100_000, 5)
    values = np.column_stack([table[name].astype(np.float32) for name in COLUMNS])
    signal = values[:, 0] * values[:, 1] + 2 * np.sin(3 * values[:, 2]) + values[:, 3] * values[:, 17] - 0.3 * values[:, 4]
    label = (signal + np.random.default_rng(6).normal(0, 0.7, len(values)) > 1).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=100, num_leaves=31, random_state=0, verbose=-1, deterministic=True)
    model.fit(values, label)
    return convert_lightgbm(model, initial_types=[("x", FloatTensorType([None, len(COLUMNS)]))], zipmap=False, target_opset=15)


def make_models(folder: Path) -> None:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    columns = f"[inputs.x]\ncolumns = [{names}]\n"
    save(folder / "trees", trees(), "labels = [0, 1]\n" + columns)
    save(folder / "perceptron", perceptron([23, 128, 64, 1], [("x", 23)], 7), 'task = "regression"\n' + columns)
    head = perceptron([8 + 384 + 1_280, 256, 64, 1], [("numbers", 8), ("text", 384), ("picture", 1_280)], 8)
    names = ", ".join(f'"{name}"' for name in FUSED_COLUMNS)
    description = f'graph = "model.onnx"\ntask = "regression"\n[inputs.numbers]\ncolumns = [{names}]\n'
    for encoder, package, output in (("text", "minilm", "text"), ("path", "efficientnet-lite0", "picture")):
        description += f'[encoders.{encoder}]\npackage = "{package}"\ngraph_input = "{output}"\n'
        shutil.copytree(packages_folder() / package, folder / "fused" / package, dirs_exist_ok=True)
    save(folder / "fused", head, description)


def save(folder: Path, model, description: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "sensorium.toml").write_text(description)


def main() -> None:
    folder = Path(sys.argv[1])
    if (folder / "complete").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = make_texts(folder)
    paths = make_pictures(folder)
    table = numbers(NUMBERS, 4)
    write(folder, "numbers", {"id": np.arange(NUMBERS), **table}, 500_000)
    columns = {name: table[name][:FUSED] for name in FUSED_COLUMNS}
    write(folder, "fused", {"id": np.arange(FUSED), **columns, "text": rows[:FUSED], "path": paths}, 500)
    make_models(folder)
    (folder / "complete").touch()


if __name__ == "__main__":
    main()
