"""`vision_language/`: models of random weights that write texts about pictures and sounds, in the layout of onnx-community's
exports, and `<model>.json`: what transformers writes behind prompts with media.

`llava` puts what it sees of a picture into the text, `idefics` looks at pictures from layers of their own (Flamingo),
`gemma3n` puts pictures and sounds into the text. After `sounds.py` and `picture_models.py`, in the environment of
`text_models.py` with

    pip install torchvision==0.29.2 timm==1.0.31 soundfile==0.14.0
"""

import json

import torch
from tokenizers import processors
from transformers import (
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Gemma3nAudioConfig,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma3nTextConfig,
    Gemma3nVisionConfig,
    GenerationConfig,
    IdeficsConfig,
    IdeficsForVisionText2Text,
    IdeficsImageProcessor,
    IdeficsProcessor,
    LlamaConfig,
    LlamaTokenizerFast,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorFast,
)
from transformers.modeling_outputs import BaseModelOutputWithPast

from text_models import spread, tokenizer
from vision_language import (
    PICTURES,
    SIDE,
    SOUNDS,
    Graphs,
    agree,
    answers,
    causal,
    check,
    ended,
    export,
    export_decoder,
    fresh_folder,
    media_matter,
    parts,
    picture,
    sample,
    sharpen,
    sound,
    steady,
    write,
)

ASTRONAUT, CAT, CUP, ROCKET, BLURRED = PICTURES
SHORT, WORD, SENTENCE = SOUNDS
LLAVA_TEMPLATE = """{%- for message in messages -%}
{%- if message.role != 'system' -%}{{ message.role | upper }}: {% endif -%}
{%- for part in message.content if part.type == 'image' -%}{{ '<image>\\n' }}{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}{{ part.text + ' ' }}{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
"""
GEMMA_TEMPLATE = """{{- bos_token -}}
{%- set start = namespace(text='') -%}
{%- for message in messages -%}
{%- set content = message.content if message.content is not string else [{'type': 'text', 'text': message.content}] -%}
{%- if message.role == 'system' -%}
{%- set start.text = content[0].text + '\\n\\n' -%}
{%- else -%}
{{- '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + start.text -}}
{%- set start.text = '' -%}
{%- for part in content -%}
{%- if part.type == 'text' -%}{{- part.text | trim -}}
{%- elif part.type in ['image', 'audio'] -%}{{- '<' + part.type + '_soft_token>' -}}
{%- else -%}{{- raise_exception('no content of the type ' + part.type) -}}
{%- endif -%}
{%- endfor -%}
{{- '<end_of_turn>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
LLAVA_ROWS = [
    ("Which supplier sent this invoice?", []),
    ("<image>What is this?", [ASTRONAUT]),
    ("<image>What is this?", [CAT]),
    ("<image><image>Which of both has a scratch?", [CUP, ROCKET]),
    ("A scratch runs across <image>, and the line was stopped at nine.", [CAT]),
    ("<image>and <image>the amount<image>", [BLURRED, ASTRONAUT, ASTRONAUT]),
    ("<image>", [CUP]),
    ("The borrower pays late in winter, but has paid every loan so far. " * 3, []),
]
IDEFICS_ROWS = [
    ("The invoice", []),
    ("<image>", [ASTRONAUT]),
    ("<image>A scratch.<image>Two scratches.<image>", [ASTRONAUT, CAT, CUP]),
    ("<image>A scratch.<image>Two scratches.<image>", [CUP, CAT, ROCKET]),
    ("A scratch runs across <image> the upper edge", [ROCKET]),
    ("<image><image>Which of both?", [CAT, BLURRED]),
    ("<image>A scratch.</s>The line was stopped at nine.", [CAT]),
    ("<image>A scratch.</s>The line<image>was stopped", [CAT, CUP]),
]
GEMMA_ROWS = [
    ("Which supplier sent this invoice?", [], None),
    ("<image>What is this?", [ASTRONAUT], None),
    ("<image>What is this?", [CAT], None),
    ("A scratch <image> or two\n<image>", [CUP, ROCKET], None),
    ("<audio>What was said?", [], WORD),
    ("<audio>What was said?", [], SENTENCE),
    ("Is <audio> said of <image>?", [BLURRED], SHORT),
    ("<image><audio>", [CAT], SENTENCE),
]


def after(paths: list) -> list:
    """As many others."""
    return [PICTURES[(PICTURES.index(path) + 1) % len(PICTURES)] for path in paths]


def asked(prompt: str, images: list, audio: str | None = None, **more) -> dict:
    return {"prompt": prompt, "images": images, "audio": audio, "content": parts(prompt), **more}


def example(**sizes) -> dict:
    """Two rows of three new tokens behind five, the first padded."""
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :2] = 0
    known = {"attention_mask": mask, "position_ids": torch.tensor([[3, 4, 5], [5, 6, 7]])}
    return {name: known[name] if size is None else torch.randn(2, 3, *size) for name, size in sizes.items()}


def llava() -> None:
    own = tokenizer(["<s>", "</s>", "<pad>", "<image>"])
    # As Llama's tokenizer, it begins texts by itself; the template does not.
    own.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)])
    own = PreTrainedTokenizerFast(
        tokenizer_object=own.backend_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left",
        clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
        extra_special_tokens={"image_token": "<image>"})
    torch.manual_seed(34)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE,
                                       patch_size=8, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(own), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, pad_token_id=2),
        image_token_index=3, image_seq_length=16)
    config.architectures = ["LlavaForConditionalGeneration"]
    model = spread(LlavaForConditionalGeneration(config))
    sharpen(model.lm_head, model.get_input_embeddings(), [3])
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=2)
    folder = fresh_folder("llava")
    config.save_pretrained(folder)
    preparer = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    LlavaProcessor(preparer, own, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
                   chat_template=LLAVA_TEMPLATE).save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)

    def rendered(prompt):
        return processor.apply_chat_template([{"role": "user", "content": parts(prompt)}], add_generation_prompt=True)

    def inputs_of(prompt, images):
        return dict(processor(text=rendered(prompt), images=[picture(path) for path in images] or None, return_tensors="pt"))

    rows = [inputs_of(*row) for row in LLAVA_ROWS]
    ended(model, own, rows, [1])
    model.generation_config.save_pretrained(folder)
    found = answers(model, own, rows)
    steady(model, own, rows, found)
    media_matter(model, own, [[inputs_of(prompt, after(images))] if images else [] for prompt, images in LLAVA_ROWS], found)

    inner = model.model

    def seen(pixels):
        states = inner.vision_tower(pixels, output_hidden_states=True).hidden_states[config.vision_feature_layer]
        return inner.multi_modal_projector(states[:, 1:])

    def step(cache, embeds, mask, places):
        states = inner.language_model(inputs_embeds=embeds, attention_mask=causal(mask, embeds.shape[1]), position_ids=places,
                                      past_key_values=cache)
        return model.lm_head(states.last_hidden_state)

    pixels = torch.cat([row["pixel_values"] for row in rows[1:4]])
    ids = torch.tensor([[0, 5, 6], [7, 8, 9]])
    export(lambda ids: inner.get_input_embeddings()(ids), model, {"input_ids": ids}, ["inputs_embeds"],
           {name: {0: "batch_size", 1: "sequence_length"} for name in ("input_ids", "inputs_embeds")}, folder / "onnx/embed_tokens.onnx")
    export(seen, model, {"pixel_values": pixels}, ["image_features"], {"pixel_values": {0: "images"}, "image_features": {0: "images"}},
           folder / "onnx/vision_encoder.onnx")
    export_decoder(folder / "onnx/decoder_model_merged.onnx", model, step,
                   example(inputs_embeds=[32], attention_mask=None, position_ids=None), {}, layers=2, heads=2, size=8)

    graphs = Graphs(folder)
    features = graphs.run("vision_encoder", pixel_values=pixels)[0]
    agree("llava's pictures", features, torch.stack(inner.get_image_features(pixels)).detach())

    def decoder_inputs(ids, new):
        embeds = graphs.run("embed_tokens", input_ids=ids[:, -new:])[0]
        if new == ids.shape[1]:
            embeds[ids.numpy() == 3] = features.reshape(-1, 32)
        return {"inputs_embeds": embeds}

    check("llava", graphs, model, 2, rows[:4], {"pixel_values": pixels}, decoder_inputs)
    views = {path: inputs_of("<image>", [path])["pixel_values"] for path in PICTURES}
    write("llava", own, [asked(*row, rendered=rendered(row[0])) for row in LLAVA_ROWS], rows, found, {
        "pixel_values": {path: sample(view) for path, view in views.items()},
        "image_features": {path: sample(seen(view).detach(), 7) for path, view in views.items()}})


def idefics() -> None:
    own = tokenizer(["<unk>", "<s>", "</s>"])
    around = ["<fake_token_around_image>", "<image>"]
    own.add_special_tokens({"additional_special_tokens": around})
    own = LlamaTokenizerFast(
        tokenizer_object=own.backend_tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
        padding_side="left", clean_up_tokenization_spaces=False, additional_special_tokens=around)
    torch.manual_seed(39)
    config = IdeficsConfig(
        vocab_size=len(own) - 2, additional_vocab_size=2, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        alpha_initializer="ones", cross_layer_interval=1, qk_layer_norms=True, use_resampler=True, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
        vision_config=dict(embed_dim=24, image_size=SIDE, intermediate_size=48, patch_size=8, num_hidden_layers=1, num_attention_heads=4),
        perceiver_config=dict(use_resampler=True, resampler_n_latents=4, resampler_depth=1, resampler_n_heads=4, resampler_head_dim=8,
                              qk_layer_norms_perceiver=True))
    config.architectures = ["IdeficsForVisionText2Text"]
    config.max_sequence_length = 256
    model = spread(IdeficsForVisionText2Text(config))
    words = model.get_input_embeddings()
    sharpen(model.lm_head, words)
    sharpen(model.lm_head.additional_fc, words.additional_embedding, [0, 1])
    with torch.no_grad():
        # So that what is seen counts beside where it begins.
        model.model.perceiver_resampler.latents /= 20
    for layer in model.model.layers:
        # A table for 2,048 positions would be most of the graph.
        layer.self_attn.rotary_emb._set_cos_sin_cache(256, "cpu", torch.float32)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    folder = fresh_folder("idefics")
    config.save_pretrained(folder)
    IdeficsProcessor(IdeficsImageProcessor(image_size=SIDE), own).save_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    # transformers' beams count on this being all tokens, which would be wrong in the file.
    model.config.vocab_size += 2

    def inputs_of(prompt, images):
        images = iter(images)
        content = [part["text"] if part["type"] == "text" else picture(next(images)) for part in parts(prompt)]
        found = dict(processor(text=content, return_tensors="pt"))
        return found | {"image_attention_mask": found["image_attention_mask"].long()}

    def grown(inputs, length):
        """What is written looks at what the last token of the prompt looks at."""
        mask = inputs["image_attention_mask"]
        return {"image_attention_mask": torch.cat([mask, mask[:, -1:].expand(-1, length - mask.shape[1], -1)], 1)}

    rows = [inputs_of(*row) for row in IDEFICS_ROWS]
    ended(model, own, rows, [2])
    model.generation_config.save_pretrained(folder)
    found = answers(model, own, rows, grown)
    steady(model, own, rows, found, grown)
    media_matter(model, own, [[inputs_of(prompt, after(images))] if images else [] for prompt, images in IDEFICS_ROWS], found)

    inner = model.model

    def seen(pixels):
        return inner.perceiver_resampler(inner.vision_model(pixel_values=pixels).last_hidden_state)

    def step(cache, ids, mask, places, pictures, looked_at):
        new, total = ids.shape[1], mask.shape[1]
        states = inner(input_ids=ids, attention_mask=causal(mask, new), position_ids=places, past_key_values=cache, use_cache=True,
                       perceiver_embeddings=pictures, image_attention_mask=looked_at, cache_position=torch.arange(total)[total - new:])
        return model.lm_head(states.last_hidden_state)

    export(seen, model, {"pixel_values": rows[2]["pixel_values"][0]}, ["image_features"],
           {"pixel_values": {0: "images"}, "image_features": {0: "images"}}, folder / "onnx/vision_encoder.onnx")
    ids = torch.tensor([[5, 400, 6], [7, 401, 9]])
    looked_at = torch.tensor([[[0, 0], [1, 0], [0, 1]], [[0, 0], [0, 0], [1, 0]]])
    export_decoder(folder / "onnx/decoder_model_merged.onnx", model, step,
                   {"input_ids": ids, **example(attention_mask=None, position_ids=None), "perceiver_embeddings": torch.randn(2, 2, 4, 24),
                    "image_attention_mask": looked_at},
                   {"perceiver_embeddings": {0: "batch_size", 1: "images"},
                    "image_attention_mask": {0: "batch_size", 1: "sequence_length", 2: "images"}}, layers=2, heads=4, size=8)

    chosen = [rows[0], rows[1], rows[2], rows[7]]
    longest = max(row["input_ids"].shape[1] for row in chosen)
    views, looked_at = torch.zeros(4, 3, 3, SIDE, SIDE), torch.zeros(4, longest, 3, dtype=torch.long)
    for index, row in enumerate(chosen):
        length, count = row["image_attention_mask"].shape[1:]
        views[index, :count] = row["pixel_values"][0]
        looked_at[index, longest - length:, :count] = row["image_attention_mask"][0]

    graphs = Graphs(folder)
    features = graphs.run("vision_encoder", pixel_values=views.flatten(0, 1))[0]
    agree("idefics' pictures", features, seen(views.flatten(0, 1)).detach())

    def decoder_inputs(ids, new):
        return {"input_ids": ids[:, -new:], "perceiver_embeddings": features.reshape(4, 3, 4, 24),
                "image_attention_mask": grown({"image_attention_mask": looked_at}, ids.shape[1])["image_attention_mask"][:, -new:]}

    check("idefics", graphs, model, 0, chosen, {"pixel_values": views, "image_attention_mask": looked_at}, decoder_inputs, grown)
    views = {path: inputs_of("<image>", [path])["pixel_values"][0] for path in PICTURES}
    # The picture that each token looks at, -1 for none.
    looks = [(row["image_attention_mask"][0] * (torch.arange(row["image_attention_mask"].shape[2]) + 1)).sum(-1) - 1 for row in rows]
    write("idefics", own, [asked(*row, looks_at=look.tolist()) for row, look in zip(IDEFICS_ROWS, looks)], rows, found, {
        "pixel_values": {path: sample(view) for path, view in views.items()},
        "image_features": {path: sample(seen(view).detach(), 7) for path, view in views.items()}})


def gemma3n() -> None:
    own = tokenizer(["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<start_of_audio>"])
    raw, texts, each, hearing = own.backend_tokenizer, len(own), 8, 20
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)])
    for medium in ("image", "audio"):
        spare = [f"<unused_{medium}_{number}>" for number in range(each - 2)]
        raw.add_special_tokens([f"<end_of_{medium}>", f"<{medium}_soft_token>", *spare])
    own = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", padding_side="left",
        clean_up_tokenization_spaces=False, extra_special_tokens={
            "image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
            "audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>"})
    image_token, audio_token = own.image_token_id, own.audio_token_id
    torch.manual_seed(34)
    config = Gemma3nConfig(
        text_config=Gemma3nTextConfig(
            vocab_size=texts + 2 * each, vocab_size_per_layer_input=texts, hidden_size=32, hidden_size_per_layer_input=8,
            intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=2, max_position_embeddings=512, laurel_rank=4,
            altup_num_inputs=2, activation_sparsity_pattern=[0.5, 0, 0, 0], tie_word_embeddings=False),
        vision_config=Gemma3nVisionConfig(
            architecture="test_efficientnet", model_args={"channel_multiplier": 0.25, "output_stride": 8}, hidden_size=64,
            vocab_size=each, vocab_offset=texts),
        audio_config=Gemma3nAudioConfig(hidden_size=16, conf_num_attention_heads=2, conf_num_hidden_layers=1, sscp_conv_channel_size=(8, 4),
                                        vocab_size=each, vocab_offset=texts + each),
        boi_token_id=6, eoi_token_id=texts, image_token_id=image_token, vision_soft_tokens_per_image=16,
        boa_token_id=7, eoa_token_id=texts + each, audio_token_id=audio_token, audio_soft_tokens_per_image=hearing,
        tie_word_embeddings=False)
    config.architectures = ["Gemma3nForConditionalGeneration"]
    model = Gemma3nForConditionalGeneration(config).eval()
    inner = model.model
    for part in (inner.language_model, inner.embed_vision, inner.embed_audio, inner.audio_tower, model.lm_head):
        spread(part)
    for layer in inner.language_model.layers:
        # Zero to begin with, which would leave `per_layer_inputs` without effect.
        torch.nn.init.normal_(layer.altup.correct_output_scale)
    sharpen(model.lm_head, inner.language_model.embed_tokens, range(texts, texts + 2 * each))
    model.generation_config = GenerationConfig(bos_token_id=2, eos_token_id=[1, 5], pad_token_id=0)
    folder = fresh_folder("gemma3n")
    config.save_pretrained(folder)
    extractor = Gemma3nAudioFeatureExtractor()
    preparer = SiglipImageProcessorFast(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2,
                                        do_normalize=False, image_seq_length=16)
    Gemma3nProcessor(extractor, preparer, own, chat_template=GEMMA_TEMPLATE, audio_seq_length=hearing,
                     image_seq_length=16).save_pretrained(folder)
    # Both wish for this file; the published models have what both say in it.
    both = {**json.loads(extractor.to_json_string()), **json.loads(preparer.to_json_string()), "processor_class": "Gemma3nProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(both, indent=2, sort_keys=True) + "\n")
    processor = AutoProcessor.from_pretrained(folder)

    def rendered(prompt):
        return processor.apply_chat_template([{"role": "user", "content": parts(prompt)}], add_generation_prompt=True)

    def inputs_of(prompt, images, audio):
        return dict(processor(text=rendered(prompt), images=[[picture(path) for path in images]] if images else None,
                              audio=[sound(audio)] if audio else None, add_special_tokens=False, return_tensors="pt"))

    def others(prompt, images, audio):
        return [*([inputs_of(prompt, after(images), audio)] if images else []),
                *([inputs_of(prompt, images, SOUNDS[(SOUNDS.index(audio) + 1) % len(SOUNDS)])] if audio else [])]

    rows = [inputs_of(*row) for row in GEMMA_ROWS]
    ended(model, own, rows, [1, 5])
    model.generation_config.save_pretrained(folder)
    found = answers(model, own, rows)
    steady(model, own, rows, found)
    media_matter(model, own, [others(*row) for row in GEMMA_ROWS], found)
    export_gemma3n(folder, model, rows)
    check_gemma3n(folder, model, processor)
    pixels = {path: inputs_of("<image>", [path], None)["pixel_values"] for path in PICTURES}
    heard = {path: inputs_of("<audio>", [], path) for path in SOUNDS}
    write("gemma3n", own, [asked(*row, rendered=rendered(row[0])) for row in GEMMA_ROWS], rows, found, {
        "pixel_values": {path: sample(view) for path, view in pixels.items()},
        "image_features": {path: sample(inner.get_image_features(view).detach(), 7) for path, view in pixels.items()},
        "frames": {path: one["input_features"].shape[1] for path, one in heard.items()},
        "input_features": {path: sample(one["input_features"]) for path, one in heard.items()},
        "audio_features": {path: sample(audible(inner, one).detach(), 7) for path, one in heard.items()}})


def audible(inner, inputs: dict) -> torch.Tensor:
    """What `Gemma3nModel.forward` puts in the place of a sound: as many vectors whatever its length, the last of them filler."""
    found, silent = inner.get_audio_features(inputs["input_features"], ~inputs["input_features_mask"])
    filler = inner.embed_audio(input_ids=torch.tensor([[inner.vocab_size - 1]]))
    found = torch.where(silent.unsqueeze(-1), filler, found)
    rest = filler.expand(found.shape[0], inner.config.audio_soft_tokens_per_image - found.shape[1], found.shape[2])
    return torch.cat([found, rest], 1)


def windows(attention, states: torch.Tensor) -> torch.Tensor:
    """`Gemma3nAudioAttention._extract_block_context` without `unfold`, which is exported for fixed lengths only."""
    padded = attention._pad_dim1(states, attention.max_past_horizon, attention.max_future_horizon + attention.chunk_size - 1)
    blocks = (states.shape[1] + attention.chunk_size - 1) // attention.chunk_size
    return padded[:, torch.arange(blocks)[:, None] * attention.chunk_size + torch.arange(attention.context_size)]


def embedded(inner, ids: torch.Tensor) -> tuple:
    """What `Gemma3nModel.forward` hands to its language model."""
    given = {}
    language = inner.language_model
    language.forward = lambda **inputs: given.update(inputs) or BaseModelOutputWithPast(last_hidden_state=inputs["inputs_embeds"])
    try:
        inner(input_ids=ids)
    finally:
        del language.forward
    return given["inputs_embeds"], given["per_layer_inputs"]


def export_gemma3n(folder, model, rows: list) -> None:
    inner, text = model.model, model.config.text_config

    def step(cache, embeds, layered, mask, places):
        admitted = causal(mask, embeds.shape[1])
        states = inner.language_model(inputs_embeds=embeds, per_layer_inputs=layered, position_ids=places, past_key_values=cache,
                                      use_cache=True, attention_mask={"full_attention": admitted, "sliding_attention": admitted})
        return torch.tanh(model.lm_head(states.last_hidden_state) / text.final_logit_softcapping) * text.final_logit_softcapping

    ids = torch.tensor([[2, 30, 400], [401, 408, 409]])
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in ("input_ids", "inputs_embeds", "per_layer_inputs")}
    export(lambda ids: embedded(inner, ids), model, {"input_ids": ids}, ["inputs_embeds", "per_layer_inputs"], axes,
           folder / "onnx/embed_tokens.onnx")
    export(inner.get_image_features, model, {"pixel_values": rows[3]["pixel_values"]}, ["image_features"],
           {"pixel_values": {0: "images"}, "image_features": {0: "images"}}, folder / "onnx/vision_encoder.onnx")
    # Of a length that does not fill the last block, as the trace would otherwise leave out what fills it.
    heard = {name: rows[4][name][:, :120] for name in ("input_features", "input_features_mask")}
    for block in inner.audio_tower.conformer:
        block.attention.attn._extract_block_context = windows.__get__(block.attention.attn)
    export(lambda *values: audible(inner, dict(zip(heard, values))), model, heard, ["audio_features"],
           {name: {0: "sounds", 1: "frames"} for name in heard} | {"audio_features": {0: "sounds"}}, folder / "onnx/audio_encoder.onnx")
    for block in inner.audio_tower.conformer:
        del block.attention.attn._extract_block_context
    for layer in inner.language_model.layers:
        # Only training moves these weights beyond the limit; looking after it is not exported.
        assert layer.altup.correction_coefs.weight.abs().max() < text.altup_coef_clip
    clip, text.altup_coef_clip = text.altup_coef_clip, None
    layers = text.num_hidden_layers - text.num_kv_shared_layers
    export_decoder(folder / "onnx/decoder_model_merged.onnx", model, step,
                   example(inputs_embeds=[32], per_layer_inputs=[text.num_hidden_layers, 8], attention_mask=None, position_ids=None),
                   {"per_layer_inputs": axes["per_layer_inputs"]}, layers, 2, 8)
    text.altup_coef_clip = clip


def check_gemma3n(folder, model, processor) -> None:
    inner, config = model.model, model.config
    texts = ["<bos>The line", "<bos>A <image_soft_token> and <audio_soft_token>", "<bos><audio_soft_token>What <image_soft_token>"]
    together = dict(processor(text=texts, images=[[], [picture(CUP)], [picture(CAT)]], audio=[sound(WORD), sound(SENTENCE)],
                              add_special_tokens=False, padding=True, return_tensors="pt"))
    rows = [{"input_ids": ids[mask > 0][None]} for ids, mask in zip(together["input_ids"], together["attention_mask"])]
    media = {name: together[name] for name in ("pixel_values", "input_features", "input_features_mask")}

    graphs = Graphs(folder)
    pictures, heard = graphs.run("vision_encoder", **media)[0], graphs.run("audio_encoder", **media)[0]
    agree("gemma3n's pictures", pictures, inner.get_image_features(media["pixel_values"]).detach())
    agree("gemma3n's sounds", heard, audible(inner, media).detach())
    for path in SOUNDS:
        alone = processor.feature_extractor([sound(path)], return_tensors="pt")
        agree(f"gemma3n's {path}", graphs.run("audio_encoder", **alone)[0], audible(inner, alone).detach())

    def decoder_inputs(ids, new):
        embeds, layered = graphs.run("embed_tokens", input_ids=ids[:, -new:])
        if new == ids.shape[1]:
            embeds[ids.numpy() == config.image_token_id] = pictures.reshape(-1, 32)
            embeds[ids.numpy() == config.audio_token_id] = heard.reshape(-1, 32)
        return {"inputs_embeds": embeds, "per_layer_inputs": layered}

    check("gemma3n", graphs, model, 0, rows, media, decoder_inputs)


def main() -> None:
    torch.set_num_threads(1)
    for make in (llava, idefics, gemma3n):
        make()


if __name__ == "__main__":
    main()
