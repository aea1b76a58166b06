"""`cut/`: the graph of `text/llama` with its weights in a file beside it, and with weights of 4 bits; `int4.json`, how likely ONNX Runtime
has labels by the latter.

What a decoder's graph says of its last token must not depend on whether it was cut before the product that makes the scores; where
the weights lie and how they are kept is what exporters do differently. In the environment of `text_models.py`, after it:

    pip install onnxruntime==1.31.1

    python cut_graphs.py
"""

import json

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

import text_models
from places import FIXTURES

SOURCE, FOLDER = FIXTURES / "text" / "llama" / "model.onnx", FIXTURES / "cut"
# As wide as the model: a weight has one scale.
BLOCK = 32


def labelled(session, own, model, ids: list) -> dict:
    def likely(tokens: list) -> torch.Tensor:
        given = np.array([ids + tokens])
        feeds = {"input_ids": given, "attention_mask": np.ones_like(given), "position_ids": np.arange(given.shape[1])[None]}
        past = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32) for one in session.get_inputs() if one.name.startswith("past")}
        return torch.tensor(session.run(["logits"], feeds | past)[0][0, len(ids) - 1:]).double().log_softmax(-1)

    ids_of = lambda label: own(label, add_special_tokens=False)["input_ids"]
    ends = model.generation_config.eos_token_id
    return {name: text_models.closed([ids_of(label) for label in labels], likely, ends) for name, labels in text_models.LABELS.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    onnx.save(onnx.load(SOURCE), FOLDER / "external.onnx", save_as_external_data=True, location="external.onnx_data", size_threshold=64)
    quantizer = MatMulNBitsQuantizer(onnx.load(SOURCE), bits=4, block_size=BLOCK, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model, FOLDER / "int4.onnx")
    (FOLDER / "external.onnx_data").chmod(0o644)
    session = onnxruntime.InferenceSession(FOLDER / "int4.onnx")
    own, model = text_models.llama()
    prompts = [{"prompt": prompt, "ids": text_models.ids_of(own, prompt)} for prompt in text_models.PROMPTS]
    closed = [labelled(session, own, model, one["ids"]) for one in prompts]
    (FOLDER / "int4.json").write_text(json.dumps({"prompts": prompts, "labels": text_models.LABELS, "closed": closed}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
