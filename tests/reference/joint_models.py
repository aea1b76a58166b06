"""`clip/`, `clip_single/`, `siglip/`: image-text models of random weights in the layout that Optimum writes, and
`<model>.json`: what transformers' own processors and models give for some photographs and captions.

`clip_single` is the same model as `clip` with both sides in one graph; `siglip` has that graph beside the other two, as
onnx-community's folders do.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from places import FIXTURES
from two_towers import strip_traces

PICTURES = ["photo_astronaut.jpg", "photo_chelsea.jpg", "photo_coffee.jpg", "photo_rocket.jpg", "jpeg_420_q50.jpg"]
TEXTS = ["a cat", "a cup of coffee on a wooden table", "a rocket at night", "an astronaut", "a brick wall", "Grass & gravel!"]
CORPUS = TEXTS + ["a photo of a dog and a cat on the grass", "the table is made of wood", "gravel and bricks at night"]
LENGTH = 16
SPREAD = 9


def clip_tokenizer() -> Tokenizer:
    """Byte-level BPE with CLIP's ends of words and its start and end tokens, trained on a handful of sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    trainer = trainers.BpeTrainer(vocab_size=180, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    start, end = (tokenizer.token_to_id(token) for token in ("<|startoftext|>", "<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", start), ("<|endoftext|>", end)])
    return tokenizer


def siglip_tokenizer() -> Tokenizer:
    """SentencePiece's unigram model with an end token, as T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("&", "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    return tokenizer


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Weights of a few times the usual size: untrained vectors would otherwise all be alike, and with much larger
    queries and keys attention would look at single tokens only."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight *= 2 if "q_proj" in name or "k_proj" in name else SPREAD
    return model.eval()


class Side(torch.nn.Module):
    """One side of a model as a graph of its own."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, *inputs):
        return self.run(*inputs)


def export(module, inputs: dict, outputs: list, path: Path, holder) -> None:
    """`holder` keeps the parameters of what `module` calls."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = Side(module)
    side.holder = holder
    axes = {"pixel_values": {0: "batch"}, "input_ids": {0: "texts", 1: "tokens"}, "attention_mask": {0: "texts", 1: "tokens"}}
    axes |= {name: {0: "rows"} for name in outputs}
    torch.onnx.export(side, tuple(inputs.values()), path, input_names=list(inputs), output_names=outputs,
                      dynamic_axes={name: axes[name] for name in [*inputs, *outputs]}, dynamo=False, opset_version=17)
    strip_traces(path)


def write_folder(folder: Path, config, tokenizer: PreTrainedTokenizerFast, processor) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)


def prepared(processor, folder: Path) -> list:
    """The photographs as the processor leaves them before it normalises, kept as PNG: models are compared on these, as one
    level of one pixel more or less in a resize would be seen in untrained vectors."""
    raw = processor(images=[Image.open(FIXTURES / "pictures" / name).convert("RGB") for name in PICTURES],
                    do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(pixels.transpose(1, 2, 0).astype(np.uint8)) for pixels in raw]
    for name, picture in zip(PICTURES, pictures):
        picture.save((folder / name).with_suffix(".png"))
    return pictures


def reference(model, tokenizer, processor, folder: Path, padding: str, activation) -> tuple:
    pictures = prepared(processor, folder)
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    tokens = tokenizer(TEXTS, padding=padding, max_length=LENGTH, truncation=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        found = model(pixel_values=pixels, **tokens)
    logits = found.logits_per_image
    for vectors in (found.image_embeds, found.text_embeds):
        alike = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).max()
        assert alike < 0.9999, f"two vectors with a cosine of {alike}"
    print(f"logits {logits.min():.2f} to {logits.max():.2f}, spread within a picture {logits.std(dim=1).mean():.3f}")
    return {
        "pictures": PICTURES, "texts": TEXTS,
        "image_embeds": found.image_embeds.tolist(), "text_embeds": found.text_embeds.tolist(),
        "logits_per_image": logits.tolist(), "probabilities": activation(logits).tolist(),
    }, pixels, tokens


def clip() -> None:
    torch.manual_seed(1)
    raw = clip_tokenizer()
    end = raw.token_to_id("<|endoftext|>")
    text = dict(vocab_size=raw.get_vocab_size(), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=LENGTH, projection_dim=12, eos_token_id=end, bos_token_id=raw.token_to_id("<|startoftext|>"),
                pad_token_id=end)
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8,
                  projection_dim=12)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12, logit_scale_init_value=3.0)
    config.architectures = ["CLIPModel"]
    model = spread(CLIPModel(config))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|startoftext|>", eos_token="<|endoftext|>",
                                        pad_token="<|endoftext|>", unk_token="<|endoftext|>", model_max_length=LENGTH)
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    answers, pixels, tokens = reference(model, tokenizer, processor, FIXTURES / "joint" / "clip_pictures", "longest", lambda logits: logits.softmax(dim=1))
    ids, mask = tokens["input_ids"], tokens["attention_mask"]

    def text_side(ids, mask):
        return model.text_projection(model.text_model(input_ids=ids, attention_mask=mask).pooler_output)

    def image_side(pixels):
        return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)

    def both(ids, pixels, mask):
        found = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
        return found.logits_per_image, found.logits_per_text, found.text_embeds, found.image_embeds

    for name in ("clip", "clip_single"):
        write_folder(FIXTURES / "joint" / name, config, tokenizer, processor)
    outputs = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    single = FIXTURES / "joint" / "clip_single" / "model.onnx"
    export(both, {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}, outputs, single, model)
    folder = FIXTURES / "joint" / "clip" / "onnx"
    export(text_side, {"input_ids": ids, "attention_mask": mask}, ["text_embeds"], folder / "text_model.onnx", model)
    export(image_side, {"pixel_values": pixels}, ["image_embeds"], folder / "vision_model.onnx", model)
    (FIXTURES / "joint" / "clip.json").write_text(json.dumps(answers))


def siglip() -> None:
    torch.manual_seed(2)
    raw = siglip_tokenizer()
    end = raw.token_to_id("</s>")
    text = dict(vocab_size=raw.get_vocab_size(), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=LENGTH, projection_size=16, pad_token_id=end, eos_token_id=end, bos_token_id=end)
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    config = SiglipConfig(text_config=text, vision_config=vision)
    config.architectures = ["SiglipModel"]
    model = spread(SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(2.5)
        model.logit_bias.fill_(-1.5)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=LENGTH)
    processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    answers, pixels, tokens = reference(_without_mask(model), tokenizer, processor, FIXTURES / "joint" / "siglip_pictures", "max_length", torch.sigmoid)
    ids = tokens["input_ids"]

    def text_side(ids):
        found = model.text_model(input_ids=ids)
        return found.last_hidden_state, found.pooler_output

    def image_side(pixels):
        found = model.vision_model(pixel_values=pixels)
        return found.last_hidden_state, found.pooler_output

    def both(ids, pixels):
        found = model(input_ids=ids, pixel_values=pixels)
        return found.logits_per_image, found.logits_per_text, found.text_embeds, found.image_embeds

    write_folder(FIXTURES / "joint" / "siglip", config, tokenizer, processor)
    folder = FIXTURES / "joint" / "siglip" / "onnx"
    export(text_side, {"input_ids": ids}, ["last_hidden_state", "pooler_output"], folder / "text_model.onnx", model)
    export(image_side, {"pixel_values": pixels}, ["last_hidden_state", "pooler_output"], folder / "vision_model.onnx", model)
    outputs = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    export(both, {"input_ids": ids, "pixel_values": pixels}, outputs, folder / "model.onnx", model)
    (FIXTURES / "joint" / "siglip.json").write_text(json.dumps(answers))


def _without_mask(model):
    """SigLIP's processor gives no mask."""
    return lambda pixel_values, input_ids, **_: model(pixel_values=pixel_values, input_ids=input_ids)


if __name__ == "__main__":
    clip()
    siglip()
    print(f"{sum(path.stat().st_size for path in (FIXTURES / 'joint').rglob('*') if path.is_file()):,} bytes")
