"""`served/`: the chat model of `text/llama` in llama.cpp's format, for a server of OpenAI's protocol, and what lets it see and hear.

`llama.gguf` has the weights, tokens and template of `text_models.py`, so it writes what transformers writes: this runs after that
script. `senses.gguf` beside it has the encoders of LLaVA and Ultravox, of random weights: an image is 16 tokens, 30 seconds are 30.

    pip install gguf==0.19.0 onnx==1.23.2

    python gguf_model.py [PATH of llama.gguf]
"""

import json
import sys
from pathlib import Path

import gguf
import numpy
import onnx

from places import FIXTURES

SOURCE = FIXTURES / "text" / "llama"
# What ONNX calls the projections of a layer, and what GGUF does.
PROJECTIONS = {
    "self_attn/q_proj": "attn_q", "self_attn/k_proj": "attn_k", "self_attn/v_proj": "attn_v", "self_attn/o_proj": "attn_output",
    "mlp/gate_proj": "ffn_gate", "mlp/up_proj": "ffn_up", "mlp/down_proj": "ffn_down",
}
# The encoders' own sizes; that of what they say is the chat model's.
SEEING = {"width": 16, "inner": 32, "heads": 2, "layers": 2, "picture": 32, "patch": 8}
HEARING = {"width": 8, "inner": 16, "heads": 2, "layers": 1, "bands": 16, "frames": 1500, "stacked": 50}


def read(name: str) -> dict:
    return json.loads((SOURCE / name).read_text())


def weights() -> dict:
    """By the name of the node that multiplies with them, `(outputs, inputs)`; the embeddings and the norm's by their own names."""
    graph = onnx.load(SOURCE / "model.onnx").graph
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    factors = {node.name.removeprefix("/").removesuffix("/MatMul"): stored[node.input[1]].T
               for node in graph.node if node.op_type == "MatMul" and node.input[1] in stored}
    return stored | factors


def rotated(weight: numpy.ndarray, heads: int) -> numpy.ndarray:
    """llama.cpp rotates neighbouring rows of a head, transformers those that are half a head apart."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def add_settings(writer: gguf.GGUFWriter, config: dict) -> None:
    writer.add_name("llama")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, config: dict) -> None:
    model, special = read("tokenizer.json")["model"], {one["id"] for one in read("tokenizer.json")["added_tokens"]}
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(model["vocab"], key=model["vocab"].get))
    writer.add_token_types([kinds.CONTROL if token in special else kinds.NORMAL for token in range(len(model["vocab"]))])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    # The template begins the text itself.
    writer.add_add_bos_token(False)
    writer.add_chat_template((SOURCE / "chat_template.jinja").read_text())


def add_tensors(writer: gguf.GGUFWriter, named: dict) -> None:
    for name, weight in named.items():
        # llama.cpp convolves over time in half precision.
        kind = numpy.float16 if name.startswith("a.conv1d") and name.endswith("weight") else numpy.float32
        writer.add_tensor(name, numpy.ascontiguousarray(weight, kind))


def add_weights(writer: gguf.GGUFWriter, config: dict) -> None:
    found, layers = weights(), range(config["num_hidden_layers"])
    # Norms that were not trained are alike, and the export keeps one of them.
    norm = found["model.layers.0.input_layernorm.weight"]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    named = {"token_embd": found["model.embed_tokens.weight"], "output_norm": norm, "output": found["lm_head"]}
    for layer in layers:
        named |= {f"blk.{layer}.attn_norm": norm, f"blk.{layer}.ffn_norm": norm}
        for theirs, own in PROJECTIONS.items():
            weight = found[f"model/layers.{layer}/{theirs}"]
            named[f"blk.{layer}.{own}"] = rotated(weight, heads[own]) if own in heads else weight
    add_tensors(writer, {f"{name}.weight": weight for name, weight in named.items()})


def blocks(made: numpy.random.Generator, sense: str, sizes: dict) -> dict:
    """A transformer's layers; Whisper's keys, which llama.cpp checks, have no bias."""
    width, inner, found = sizes["width"], sizes["inner"], {}
    shapes = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_out": (width, width),
              "ffn_up": (inner, width), "ffn_down": (width, inner)}
    for layer in range(sizes["layers"]):
        for name in ("ln1", "ln2"):
            found |= {f"{sense}.blk.{layer}.{name}.weight": numpy.ones(width), f"{sense}.blk.{layer}.{name}.bias": numpy.zeros(width)}
        for name, shape in shapes.items():
            found[f"{sense}.blk.{layer}.{name}.weight"] = made.normal(0, 0.3, shape)
            if name != "attn_k":
                found[f"{sense}.blk.{layer}.{name}.bias"] = made.normal(0, 0.1, shape[0])
    return found


def seeing(made: numpy.random.Generator, said: int) -> dict:
    """CLIP's encoder and LLaVA's projector."""
    width, patch = SEEING["width"], SEEING["patch"]
    return blocks(made, "v", SEEING) | {
        "v.class_embd": made.normal(0, 1, width),
        "v.patch_embd.weight": made.normal(0, 0.3, (width, 3, patch, patch)),
        "v.position_embd.weight": made.normal(0, 1, ((SEEING["picture"] // patch) ** 2 + 1, width)),
        "v.pre_ln.weight": numpy.ones(width), "v.pre_ln.bias": numpy.zeros(width),
        "mm.0.weight": made.normal(0, 0.3, (said, width)), "mm.0.bias": numpy.zeros(said),
        "mm.2.weight": made.normal(0, 0.3, (said, said)), "mm.2.bias": numpy.zeros(said),
    }


def hearing(made: numpy.random.Generator, said: int) -> dict:
    """Whisper's encoder and Ultravox's projector, which reads `stacked` frames as one."""
    width, stacked = HEARING["width"], HEARING["width"] * HEARING["stacked"]
    return blocks(made, "a", HEARING) | {
        "a.conv1d.1.weight": made.normal(0, 2, (width, HEARING["bands"], 3)), "a.conv1d.1.bias": numpy.zeros((width, 1)),
        "a.conv1d.2.weight": made.normal(0, 0.3, (width, width, 3)), "a.conv1d.2.bias": numpy.zeros((width, 1)),
        "a.position_embd.weight": made.normal(0, 0.1, (HEARING["frames"], width)),
        "a.post_ln.weight": numpy.ones(width), "a.post_ln.bias": numpy.zeros(width),
        "mm.a.norm_pre.weight": numpy.ones(stacked), "mm.a.norm_mid.weight": numpy.ones(said // 2),
        "mm.a.mlp.1.weight": made.normal(0, 0.3, (said, stacked)), "mm.a.mlp.2.weight": made.normal(0, 0.3, (said, said // 2)),
    }


def add_senses(writer: gguf.GGUFWriter, said: int) -> None:
    made = numpy.random.default_rng(9)
    writer.add_name("senses")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for sense, kind, sizes in (("vision", "mlp", SEEING), ("audio", "ultravox", HEARING)):
        writer.add_bool(f"clip.has_{sense}_encoder", True)
        writer.add_string(f"clip.{sense}.projector_type", kind)
        writer.add_float32(f"clip.{sense}.attention.layer_norm_epsilon", 1e-5)
        for name, value in {"embedding_length": sizes["width"], "feed_forward_length": sizes["inner"], "block_count": sizes["layers"],
                            "attention.head_count": sizes["heads"], "projection_dim": said}.items():
            writer.add_uint32(f"clip.{sense}.{name}", value)
    writer.add_uint32("clip.vision.image_size", SEEING["picture"])
    writer.add_uint32("clip.vision.patch_size", SEEING["patch"])
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_uint32("clip.audio.num_mel_bins", HEARING["bands"])
    writer.add_uint32("clip.audio.projector.stack_factor", HEARING["stacked"])
    add_tensors(writer, seeing(made, said) | hearing(made, said))


def write(place: Path, writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file(place)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(place, place.stat().st_size)


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES / "served" / "llama.gguf"
    place.parent.mkdir(parents=True, exist_ok=True)
    config = read("config.json")
    chat, senses = gguf.GGUFWriter(None, "llama"), gguf.GGUFWriter(None, "clip")
    add_settings(chat, config)
    add_tokenizer(chat, config)
    add_weights(chat, config)
    add_senses(senses, config["hidden_size"])
    write(place, chat)
    write(place.with_name("senses.gguf"), senses)


if __name__ == "__main__":
    main()
