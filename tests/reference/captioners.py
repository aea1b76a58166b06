"""`captioners/`: models of random weights that write texts about what an encoder saw, and `<model>.json`: what transformers writes.

`t5` reads texts and `vit_gpt2` pictures, both as Optimum exports them. `blip` captions pictures, also where a caption was begun,
`blip_vqa` answers questions about them: these are exported here, as Optimum has no exporter for BLIP. Runs where `text_models.py` does,
with

    pip install onnxruntime==1.31.1 pillow==13.0.0
"""

import copy
import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import onnx
import torch
from optimum.exporters.onnx import onnx_export_from_model
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    T5Config,
    T5ForConditionalGeneration,
    T5TokenizerFast,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

import text_models
from encoders import session
from modules import Run
from places import FIXTURES
from text_models import PROMPTS, tokenizer
from two_towers import strip_traces

FOLDER = FIXTURES / "captioners"
ROOT = FIXTURES.parent.parent
# Of the models' size already, so that nothing depends on how a picture is made smaller.
PICTURES = [f"tests/fixtures/vit_pictures/photo_{name}.png" for name in ("astronaut", "chelsea", "coffee")]
SIDE, PATCH, WIDTH, HEADS, LAYERS = 32, 8, 32, 4, 2
CAPTIONS = [
    "a picture of an astronaut in front of a flag",
    "a cat that looks into the camera",
    "a cup of coffee and a spoon on a wooden table",
    "the cat's ears are orange, aren't they?",
    "what color is the cup? it's white.",
    "how many people are in the picture? one woman, smiling!",
]
BEGUN = [None, "a picture of", "The cat's"]
QUESTIONS = [
    "what?",
    "what color is the cup?",
    "how many people are in the picture?",
    "is the cat in front of the flag, or are its ears on the wooden table?",
]
ASKED = {
    "greedy": {"max_new_tokens": 16},
    "beams": {"max_new_tokens": 10, "num_beams": 4},
    "no_repeats": {"max_new_tokens": 16, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
}
# Closed answers; those of T5 are of `text_models.py`.
LABELS = {"apart": ["white", "a woman", "the cat is on the table"], "nested": ["the cat", "the cat is white", "the cat is", "two"]}
TOLERANCE = 1e-4
NOISE = 1e-3

# `generate` gives all tokens of the decoder, `scores` what the model itself thinks of each of some tokens behind the row's first ones.
Captioner = namedtuple("Captioner", "own model rows ends generate scores")


def spread(model: torch.nn.Module, stronger: dict) -> torch.nn.Module:
    """As of the text models; what a weight's name contains says how much stronger still it is."""
    text_models.spread(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            for part, factor in stronger.items():
                if weight.dim() > 1 and part in name:
                    weight *= factor
    return model


def pixels(processor, picture: str) -> torch.Tensor:
    return processor(Image.open(ROOT / picture).convert("RGB"), return_tensors="pt")["pixel_values"]


def t5_tokenizer() -> T5TokenizerFast:
    """SentencePiece's unigram model: words, their ends and single characters, each a little less likely than the one before."""
    words = list(dict.fromkeys(" ".join(text_models.CORPUS).split()))
    ends = dict.fromkeys(word[-3:] for word in words if len(word) > 4)
    characters = sorted(set("".join(words)))
    pieces = [(f"▁{word}", -5 - 0.01 * index) for index, word in enumerate(words) if len(word) < 8]
    pieces += [(piece, -7 - 0.01 * index) for index, piece in enumerate(["▁", *ends])]
    pieces += [(piece, -9 - 0.01 * index) for index, piece in enumerate(characters) if piece not in ends]
    own = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), *pieces], unk_id=2))
    own.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.decoder = decoders.Metaspace()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return T5TokenizerFast(tokenizer_object=own, extra_ids=0)


def t5() -> tuple:
    own = t5_tokenizer()
    torch.manual_seed(22)
    # More rows of weights than tokens, as in the published ones.
    model = T5ForConditionalGeneration(T5Config(
        vocab_size=len(own) // 8 * 8 + 8, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=LAYERS, num_heads=HEADS,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0)).eval()

    def generate(row, **asked):
        ids = torch.tensor([row["encoder_ids"]])
        return model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **asked)[0].tolist()

    def scores(row, tokens):
        seen = row["decoder_ids"] + tokens[:-1]
        return model(input_ids=torch.tensor([row["encoder_ids"]]), decoder_input_ids=torch.tensor([seen])).logits[0]

    rows = [{"picture": None, "prompt": prompt, "encoder_ids": own(prompt)["input_ids"], "decoder_ids": [0]} for prompt in PROMPTS]
    end = generate(rows[1], max_new_tokens=8)[-1]
    model.generation_config = GenerationConfig(decoder_start_token_id=0, eos_token_id=[1, end], pad_token_id=0)
    return Captioner(own, model, rows, [1, end], generate, scores), None


def vit_gpt2() -> tuple:
    own = tokenizer(["<|endoftext|>"])
    own.bos_token = own.eos_token = own.pad_token = "<|endoftext|>"
    torch.manual_seed(27)
    model = VisionEncoderDecoderModel(
        encoder=ViTModel(ViTConfig(image_size=SIDE, patch_size=PATCH, hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=HEADS,
                                   intermediate_size=48), add_pooling_layer=False),
        decoder=GPT2LMHeadModel(GPT2Config(vocab_size=len(own), n_embd=24, n_inner=32, n_layer=LAYERS, n_head=HEADS, n_positions=64,
                                           bos_token_id=0, eos_token_id=0, is_decoder=True, add_cross_attention=True)))
    spread(model, {"transformer.h": 2, "crossattention": 1.5, "wte": 2, "wpe": 2})
    for key in ("decoder_start_token_id", "pad_token_id", "eos_token_id"):
        setattr(model.config, key, 0)
    processor = ViTImageProcessor(size={"height": SIDE, "width": SIDE})

    def generate(row, **asked):
        return model.generate(pixels(processor, row["picture"]), decoder_input_ids=torch.tensor([row["decoder_ids"]]), do_sample=False,
                              **asked)[0].tolist()

    def scores(row, tokens):
        seen = row["decoder_ids"] + tokens
        return model(pixel_values=pixels(processor, row["picture"]), decoder_input_ids=torch.tensor([seen])).logits[0][-len(tokens) - 1:-1]

    rows = [{"picture": picture, "prompt": prompt, "decoder_ids": [0] + own(prompt or "")["input_ids"]}
            for prompt in (None, "A scratch") for picture in PICTURES]
    model.generation_config = GenerationConfig(bos_token_id=0, decoder_start_token_id=0, eos_token_id=0, pad_token_id=0)
    end = generate(rows[1], max_new_tokens=8)[-1]
    model.generation_config.eos_token_id = [0, end]
    return Captioner(own, model, rows, [0, end], generate, scores), processor


def word_pieces(with_starts: bool) -> BertTokenizerFast:
    """BERT's, to which BLIP adds the two tokens that texts start with; a tokenizer without them goes with the model as well."""
    parts = [part for part, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(" ".join(CAPTIONS))]
    long = [part for part in parts if len(part) > 5]
    letters = "abcdefghijklmnopqrstuvwxyz"
    # Their configuration names as the end what is here a word that is never used.
    vocabulary = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary += [part for part in parts if part not in long] + [part[:4] for part in long] + [f"##{part[4:]}" for part in long]
    vocabulary = list(dict.fromkeys(vocabulary))
    own = Tokenizer(models.WordPiece({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    own.normalizer = normalizers.BertNormalizer()
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own.decoder = decoders.WordPiece()
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocabulary.index(token)) for token in ("[CLS]", "[SEP]")])
    own = BertTokenizerFast(tokenizer_object=own, clean_up_tokenization_spaces=True)
    if with_starts:
        own.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    return own


def blip_of(kind: type, own: BertTokenizerFast, words: int, likelier: dict) -> torch.nn.Module:
    """`words` are the tokens but `[DEC]` and `[ENC]`; `likelier` are those that would hardly be written."""
    config = BlipConfig(
        text_config=dict(vocab_size=words + 2, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                         max_position_embeddings=64, bos_token_id=words, eos_token_id=2, pad_token_id=0, sep_token_id=own.sep_token_id),
        vision_config=dict(hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=1, num_attention_heads=HEADS, image_size=SIDE,
                           patch_size=PATCH, initializer_range=0.02))
    model = spread(kind(config), {"crossattention": 2, "word_embeddings": 3, "position_embeddings": 3})
    with torch.no_grad():
        for token, more in likelier.items():
            model.text_decoder.cls.predictions.bias[own.convert_tokens_to_ids(token)] += more
    return model


def blip() -> tuple:
    own = word_pieces(True)
    torch.manual_seed(31)
    model = blip_of(BlipForConditionalGeneration, own, len(own) - 2, {"[SEP]": 2.5, "'": 1})
    processor = BlipImageProcessor(size={"height": SIDE, "width": SIDE})

    def generate(row, **asked):
        ids = row["prompt"] and torch.tensor([own(row["prompt"])["input_ids"]])
        return model.generate(pixels(processor, row["picture"]), input_ids=ids, do_sample=False, **asked)[0].tolist()

    def scores(row, tokens):
        seen = torch.tensor([row["decoder_ids"] + tokens])
        return model(pixel_values=pixels(processor, row["picture"]), input_ids=seen).logits[0][-len(tokens) - 1:-1]

    rows = [{"picture": picture, "prompt": prompt, "decoder_ids": [own.bos_token_id] + own(prompt or "")["input_ids"][1:-1]}
            for prompt in BEGUN for picture in PICTURES]
    return Captioner(own, model, rows, [own.sep_token_id], generate, scores), processor


def blip_vqa() -> tuple:
    own = word_pieces(False)
    torch.manual_seed(21)
    model = blip_of(BlipForQuestionAnswering, own, len(own), {"[SEP]": 3})
    processor = BlipImageProcessor(size={"height": SIDE, "width": SIDE})

    def generate(row, **asked):
        return model.generate(torch.tensor([row["encoder_ids"]]), pixels(processor, row["picture"]), do_sample=False, **asked)[0].tolist()

    def scores(row, tokens):
        seen = model.vision_model(pixels(processor, row["picture"])).last_hidden_state
        asked = model.text_encoder(torch.tensor([row["encoder_ids"]]), encoder_hidden_states=seen).last_hidden_state
        return model.text_decoder(torch.tensor([row["decoder_ids"] + tokens[:-1]]), encoder_hidden_states=asked).logits[0]

    rows = [{"picture": picture, "prompt": prompt, "encoder_ids": own(prompt)["input_ids"], "decoder_ids": [len(own)]}
            for prompt in QUESTIONS for picture in PICTURES]
    return Captioner(own, model, rows, [own.sep_token_id], generate, scores), processor


class Noise(LogitsProcessor):
    """What another runtime may differ by, and more."""

    def __call__(self, ids, scores):
        return scores + (torch.rand_like(scores) - 0.5) * 2 * NOISE


def written(one: Captioner, row: dict, asked: dict) -> dict:
    begun = row["decoder_ids"]
    all_tokens = one.generate(row, **asked)
    assert all_tokens[:len(begun)] == begun, (all_tokens, begun)
    torch.manual_seed(0)
    for _ in range(6):
        assert one.generate(row, logits_processor=[Noise()], **asked) == all_tokens, f"a matter of rounding: {row}, {asked}"
    tokens = all_tokens[len(begun):]
    length = next((place for place, token in enumerate(tokens) if token in one.ends), None)
    tokens = tokens if length is None else tokens[:length + 1]
    with torch.no_grad():
        logprobs = one.scores(row, tokens).double().log_softmax(-1)
    assert asked != ASKED["greedy"] or logprobs.argmax(-1).tolist() == tokens, (row, tokens)
    found = row | {
        "tokens": tokens, "finish_reason": "length" if length is None else "stop",
        "text": one.own.decode(tokens[:length], skip_special_tokens=True),
        "logprob": float(logprobs.gather(1, torch.tensor(tokens)[:, None]).sum())}
    if len(begun) > 1:
        found["whole"] = one.own.decode(begun + tokens[:length], skip_special_tokens=True)
    return found


def labelled(one: Captioner, row: dict, labels: dict) -> dict:
    def likely(tokens: list) -> torch.Tensor:
        with torch.no_grad():
            # What stands behind the last token does not matter to the scores before it.
            return one.scores(row, tokens + tokens[:1]).double().log_softmax(-1)

    ids = lambda label: one.own(label, add_special_tokens=False)["input_ids"]
    return {name: text_models.closed([ids(label) for label in own], likely, one.ends) for name, own in labels.items()}


def export(run, holder, inputs: dict, outputs: list, path: Path) -> None:
    now, past = "decoder_sequence_length", "past_decoder_sequence_length"
    seen = {0: "batch_size", 1: "encoder_sequence_length"}
    # The text encoder's own tokens are what the decoder looks at.
    own = seen if path.stem == "text_encoder" else {0: "batch_size", 1: now}
    axes = {"pixel_values": {0: "batch_size"}, "input_ids": own, "position_ids": own, "logits": own, "encoder_hidden_states": seen,
            "encoder_attention_mask": seen, "attention_mask": seen if own is seen else {0: "batch_size", 1: f"{past} + {now}"},
            "last_hidden_state": {0: "batch_size"} if path.stem == "vision_model" else seen}
    if own is seen:
        axes["encoder_hidden_states"] = axes["encoder_attention_mask"] = {0: "batch_size", 1: "image_sequence_length"}
    for name in [*inputs, *outputs]:
        if name.startswith(("past_key_values", "present")):
            made = f"{past} + {now}" if name.startswith("present") else past
            axes[name] = {0: "batch_size", 2: made if ".decoder." in name else "encoder_sequence_length"}
    torch.onnx.export(Run(run, holder), tuple(inputs.values()), path, input_names=list(inputs), output_names=outputs,
                      dynamic_axes={name: axes[name] for name in [*inputs, *outputs]}, dynamo=False, opset_version=17)


def shorten(path: Path) -> None:
    """No traces, and numbers in place of the long names inside, which are a third of a small graph's bytes."""
    strip_traces(path)
    model = onnx.load(path)
    kept = {value.name for value in [*model.graph.input, *model.graph.output]} | {""}
    short = {}

    def renamed(name: str) -> str:
        return name if name in kept else short.setdefault(name, f"v{len(short)}")

    def visit(graph) -> None:
        for node in graph.node:
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            node.name = node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    visit(attribute.g)
        for value in [*graph.initializer, *graph.input, *graph.output]:
            value.name = renamed(value.name)
        del graph.value_info[:]

    visit(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def cache_of(past: tuple) -> EncoderDecoderCache:
    """`past` holds for each layer key and value of what was written, then of what is looked at."""
    kept, looked_at = DynamicCache(), DynamicCache()
    for layer in range(len(past) // 4):
        kept.update(*past[4 * layer: 4 * layer + 2], layer)
        looked_at.update(*past[4 * layer + 2: 4 * layer + 4], layer)
    return EncoderDecoderCache(kept, looked_at)


def flat(cache: EncoderDecoderCache, parts: int) -> list:
    caches = [cache.self_attention_cache, cache.cross_attention_cache][:parts]
    return [values for layer in range(LAYERS) for one in caches for values in (one.layers[layer].keys, one.layers[layer].values)]


def blip_graphs(model, states: torch.Tensor, place: Path, merged: bool) -> None:
    """The decoder: as one graph, whose caches are empty at first, or as a pair of which the first takes no cache."""
    decoder = model.text_decoder
    parts = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
    names = [f"{layer}.{part}" for layer in range(LAYERS) for part in parts]

    def first(ids, mask, positions, states, states_mask):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        found = decoder(input_ids=ids, attention_mask=mask, position_ids=positions, encoder_hidden_states=states,
                        encoder_attention_mask=states_mask, past_key_values=cache)
        return [found.logits, *flat(cache, 2)]

    def later(ids, mask, positions, states_mask, *past):
        cache = cache_of(past)
        # In place of the states stands something of which nothing is read.
        found = decoder(input_ids=ids, attention_mask=mask, position_ids=positions, encoder_hidden_states=states_mask[..., None],
                        encoder_attention_mask=states_mask, past_key_values=cache)
        return [found.logits, *flat(cache, 1)]

    def any_step(ids, mask, positions, states, states_mask, *past):
        cache = cache_of(past)
        # The cache is added to: by all states at the first step, by none of them later.
        cache.is_updated = dict.fromkeys(range(LAYERS), False)
        found = decoder(input_ids=ids, attention_mask=mask, position_ids=positions, encoder_hidden_states=states[:, past[2].shape[2]:],
                        encoder_attention_mask=states_mask, past_key_values=cache)
        return [found.logits, *flat(cache, 2)]

    def example(start: int, count: int) -> dict:
        rows = len(states)
        return {"input_ids": torch.arange(rows * count).reshape(rows, count) + 7,
                "attention_mask": torch.ones(rows, start + count, dtype=torch.long),
                "position_ids": torch.arange(start, start + count).expand(rows, count).clone(),
                "encoder_hidden_states": states, "encoder_attention_mask": torch.ones(states.shape[:2], dtype=torch.long)}

    present = ["logits", *(f"present.{name}" for name in names)]
    past = dict(zip((f"past_key_values.{name}" for name in names), first(*example(0, 3).values())[1:]))
    if merged:
        # Half of the states are in the cache and half are not, so that nothing of the example is all or none.
        past = {name: values if ".decoder." in name else values[:, :, :states.shape[1] // 2] for name, values in past.items()}
        export(any_step, model, example(3, 2) | past, present, place / "decoder_model_merged.onnx")
        return
    export(first, model, example(0, 3), present, place / "decoder_model.onnx")
    given = example(3, 2) | past
    del given["encoder_hidden_states"]
    export(later, model, given, [name for name in present if ".encoder." not in name], place / "decoder_with_past_model.onnx")


def heed_masks(text_model) -> None:
    """transformers 4.57 loses the mask of what a text of BLIP looks at, which a row by itself does not need and a padded one does."""
    for layer in text_model.encoder.layer:
        looking = layer.crossattention.self

        def forward(*given, attention_mask, forward=looking.forward, **more):
            return forward(*given, encoder_attention_mask=attention_mask, **more)

        looking.forward = forward


def export_blip(model, place: Path) -> None:
    heed_masks(model.text_decoder.bert)
    states = model.vision_model(torch.zeros(2, 3, SIDE, SIDE)).last_hidden_state
    export(lambda values: model.vision_model(values).last_hidden_state, model.vision_model, {"pixel_values": torch.zeros(2, 3, SIDE, SIDE)},
           ["last_hidden_state"], place / "vision_model.onnx")
    if isinstance(model, BlipForQuestionAnswering):
        heed_masks(model.text_encoder)

        def ask(ids, mask, states, states_mask):
            return model.text_encoder(input_ids=ids, attention_mask=mask, encoder_hidden_states=states,
                                      encoder_attention_mask=states_mask).last_hidden_state

        ids = torch.arange(10).reshape(2, 5)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "encoder_hidden_states": states,
                 "encoder_attention_mask": torch.ones(states.shape[:2], dtype=torch.long)}
        export(ask, model, given, ["last_hidden_state"], place / "text_encoder.onnx")
        states = ask(*given.values())
    blip_graphs(model, states, place, merged=not isinstance(model, BlipForQuestionAnswering))
    model.config.save_pretrained(place)


def write_folder(name: str, one: Captioner, processor) -> Path:
    place = FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    one.model.config.architectures = [type(one.model).__name__]
    # A copy, as T5 does not work any more once it was exported, and BLIP is mended.
    model = copy.deepcopy(one.model)
    if name.startswith("blip"):
        export_blip(model, place)
    else:
        task = "image-to-text-with-past" if processor else "text2text-generation-with-past"
        onnx_export_from_model(model, place, task=task, do_validation=False)
        # Either the merged decoder or the two that were merged: both would be a lot of bytes.
        for graph in ["decoder_model_merged"] if processor else ["decoder_model", "decoder_with_past_model"]:
            (place / f"{graph}.onnx").unlink()
    for path in place.glob("*.onnx"):
        shorten(path)
    one.own.save_pretrained(place)
    one.model.generation_config.save_pretrained(place)
    if processor:
        processor.save_pretrained(place)
    # All of it is in the tokenizer's other files.
    for file in ("special_tokens_map.json", "added_tokens.json", "vocab.txt"):
        (place / file).unlink(missing_ok=True)
    return place


def padded(lists: list, left: bool) -> tuple:
    """Of the same length, and where they were."""
    longest = max(len(one) for one in lists)
    ids, mask = np.zeros((2, len(lists), longest), dtype=np.int64)
    for row, one in enumerate(lists):
        place = slice(longest - len(one), None) if left else slice(len(one))
        ids[row, place], mask[row, place] = one, 1
    return ids, mask


def run(graph, given: dict) -> dict:
    names = [output.name for output in graph.get_outputs()]
    return dict(zip(names, graph.run(names, {value.name: given[value.name] for value in graph.get_inputs()})))


def seen_by(graphs: dict, rows: list, processor) -> tuple:
    """What the decoder looks at, and which of it is padding."""
    states = None
    if processor:
        given = {"pixel_values": torch.cat([pixels(processor, row["picture"]) for row in rows]).numpy()}
        states = run(graphs.get("vision_model") or graphs["encoder_model"], given)["last_hidden_state"]
        mask = np.ones(states.shape[:2], dtype=np.int64)
    if "encoder_ids" in rows[0]:
        # An encoder counts places from the first token, be it padding.
        ids, asked = padded([row["encoder_ids"] for row in rows], left=False)
        given = {"input_ids": ids, "attention_mask": asked}
        if processor:
            given |= {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        mask = asked
        states = run(graphs.get("text_encoder") or graphs["encoder_model"], given)["last_hidden_state"]
    return states, mask


def decoded(graphs: dict, rows: list, tokens: list, states: tuple, steps: list) -> np.ndarray:
    """The logits of all `tokens` behind the rows' own, of which `steps` at a time are read."""
    ids, mask = padded([row["decoder_ids"] for row in rows], left=True)
    past, found, at = {}, [], 0
    for step in steps:
        with_past = graphs.get("decoder_with_past_model") if past else None
        graph = graphs.get("decoder_model_merged") or with_past or graphs["decoder_model"]
        positions = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -ids.shape[1]:]
        given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "encoder_hidden_states": states[0],
                 "encoder_attention_mask": states[1], "use_cache_branch": np.array([bool(past)])}
        for value in graph.get_inputs():
            if value.name.startswith("past_key_values"):
                given[value.name] = past.get(value.name, np.zeros((len(rows), value.shape[1], 0, value.shape[3]), dtype=np.float32))
        out = run(graph, given)
        found.append(out["logits"] if past else out["logits"][:, -1:])
        # What is looked at does not change, and a merged decoder gives something without meaning for it at later steps.
        past |= {name.replace("present", "past_key_values"): values for name, values in out.items()
                 if name.startswith("present") and (not past or ".encoder." not in name)}
        ids = tokens[:, at:at + step]
        at += step
        mask = np.concatenate([mask, np.ones_like(ids)], axis=1)
    return np.concatenate(found, axis=1)


def agree(place: Path, one: Captioner, processor) -> None:
    """ONNX Runtime's logits are PyTorch's, in batches of padded rows as in single ones, with a cache and without."""
    graphs = {path.stem: session(path) for path in place.glob("*.onnx")}
    inputs = [value.name for name, graph in graphs.items() if name.startswith("decoder") for value in graph.get_inputs()]
    is_told = "attention_mask" in inputs
    batches = {}
    for row in one.rows:
        batches.setdefault(0 if is_told else len(row["decoder_ids"]), []).append(row)
    for rows in [*batches.values(), one.rows[-1:]]:
        tokens = [one.generate(row, max_new_tokens=4, min_new_tokens=4)[-4:] for row in rows]
        with torch.no_grad():
            want = np.stack([one.scores(row, chosen).numpy() for row, chosen in zip(rows, tokens)])
        seen = seen_by(graphs, rows, processor)
        for steps in ([1, 1, 1, 1], [3, 1]):
            apart = np.abs(decoded(graphs, rows, np.array(tokens), seen, steps) - want).max(axis=(0, 2))
            assert apart.max() < TOLERANCE, (place.name, apart)
            shown = ", ".join(f"{token:.0e}" for token in apart)
            print(f"{place.name}: {len(rows)} rows, tokens {steps} at a time: logits up to {np.abs(want).max():.0f} within {shown}")


def main() -> None:
    torch.set_num_threads(1)
    for make in (t5, vit_gpt2, blip, blip_vqa):
        name = make.__name__
        one, processor = make()
        with torch.no_grad():
            place = write_folder(name, one, processor)
        agree(place, one, processor)
        found = {asked: [written(one, row, options) for row in one.rows] for asked, options in ASKED.items()}
        labels = text_models.LABELS if name == "t5" else LABELS
        found["closed"] = [labelled(one, row, labels) for row in one.rows]
        # A row a line.
        parts = {asked: ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows) for asked, rows in found.items()}
        text = ",\n".join([f' "{asked}": [\n  {rows}\n ]' for asked, rows in parts.items()] + [f' "labels": {json.dumps(labels, ensure_ascii=False)}'])
        (FOLDER / f"{name}.json").write_text(f"{{\n{text}\n}}\n")
        texts, reasons = ([row[key] for row in found["greedy"]] for key in ("text", "finish_reason"))
        assert len(set(texts)) == len(texts) and len(set(reasons)) == 2, (texts, reasons)
        print(name, texts, reasons, f"{sum(path.stat().st_size for path in place.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
