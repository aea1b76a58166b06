"""`sound/`: models of sounds with random weights in the layout that Optimum writes, and `<model>.json`: what transformers'
own feature extractors and models give for the made-up voices of `sounds.py`.

`wav2vec2` is told of padding, `wav2vec2_group` (group normalisation) is not; `ast` sees Kaldi's filter bank; `xvector`
gives the vector of a speaker. `whisper` has a merged decoder, `whisper_past` the two graphs that were merged.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import soundfile as sf
import torch
from onnx import TensorProto, helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2ForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from modules import Run
from places import FIXTURES
from two_towers import strip_traces

FOLDER = FIXTURES / "sound"
CLIPS = [f"voice_{number}.flac" for number in range(4)]
LABELS = ["calm", "angry", "sad"]
RATE = 16_000


def sounds() -> list:
    return [sf.read(FIXTURES / "sounds" / name, dtype="float32")[0] for name in CLIPS]


def spread(model: torch.nn.Module, factor: float) -> torch.nn.Module:
    """Larger weights than untrained ones: answers would otherwise all be alike."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight *= factor
    return model.eval()


def export(run, holder, inputs: dict, outputs: list, axes: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(Run(run, holder), tuple(inputs.values()), path, input_names=list(inputs), output_names=outputs,
                      dynamic_axes=axes, dynamo=False, opset_version=17)
    strip_traces(path)
    shorten(path)


def shorten(path: Path) -> None:
    """Numbers in place of the long names inside, which are half of a small graph's bytes."""
    model = onnx.load(path)
    graph = model.graph
    kept = {value.name for value in [*graph.input, *graph.output]} | {""}
    short = {}
    rename = lambda name: name if name in kept else short.setdefault(name, f"v{len(short)}")
    for node in graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            return
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        node.name = ""
    for weight in graph.initializer:
        weight.name = rename(weight.name)
    del graph.value_info[:]
    onnx.save(model, path)


def fresh_folder(name: str) -> Path:
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / name).mkdir(parents=True)
    return FOLDER / name


def write_answers(name: str, answers: dict) -> None:
    (FOLDER / f"{name}.json").write_text(json.dumps({"clips": CLIPS, **answers}))


def wav2vec2_config(**more) -> Wav2Vec2Config:
    labels = dict(id2label=dict(enumerate(LABELS)), label2id={label: index for index, label in enumerate(LABELS)})
    return Wav2Vec2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(6,) * 7,
                          num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, classifier_proj_size=12, **labels, **more)


def wav2vec2(name: str, with_mask: bool) -> None:
    torch.manual_seed(2)
    config = wav2vec2_config(feat_extract_norm="layer" if with_mask else "group", do_stable_layer_norm=with_mask, conv_bias=with_mask)
    config.architectures = ["Wav2Vec2ForSequenceClassification"]
    model = spread(Wav2Vec2ForSequenceClassification(config), 3)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=with_mask)
    folder = fresh_folder(name)
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    # One by one, as padding must not matter.
    prepared = [extractor(sound, sampling_rate=RATE, return_tensors="pt") for sound in sounds()]
    with torch.no_grad():
        logits = torch.cat([model(**one).logits for one in prepared])
    print(name, logits)
    batch = extractor(sounds()[:2], sampling_rate=RATE, return_tensors="pt", padding=True)
    inputs = {key: batch[key] for key in (["input_values", "attention_mask"] if with_mask else ["input_values"])}
    axes = {key: {0: "batch", 1: "samples"} for key in inputs} | {"logits": {0: "batch"}}
    export(lambda values, mask=None: model(values, attention_mask=mask).logits, model, inputs, ["logits"], axes, folder / "onnx" / "model.onnx")
    features = [one["input_values"][0, ::997].tolist() for one in prepared]
    write_answers(name, {"labels": LABELS, "probabilities": logits.softmax(dim=1).tolist(), "every_997th_sample": features})


def xvector() -> None:
    torch.manual_seed(3)
    config = wav2vec2_config(feat_extract_norm="group", tdnn_dim=(16, 16, 16, 16, 24), tdnn_kernel=(5, 3, 3, 1, 1),
                             tdnn_dilation=(1, 2, 3, 1, 1), xvector_output_dim=10)
    config.architectures = ["Wav2Vec2ForXVector"]
    model = spread(Wav2Vec2ForXVector(config), 3)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
    folder = fresh_folder("xvector")
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    prepared = [extractor(sound, sampling_rate=RATE, return_tensors="pt")["input_values"] for sound in sounds()]

    def run(values):
        found = model(values)
        return found.logits, found.embeddings

    with torch.no_grad():
        vectors = torch.cat([run(values)[1] for values in prepared])
    axes = {"input_values": {0: "batch", 1: "samples"}, "logits": {0: "batch"}, "embeddings": {0: "batch"}}
    export(run, model, {"input_values": prepared[1]}, ["logits", "embeddings"], axes, folder / "onnx" / "model.onnx")
    write_answers("xvector", {"embeddings": vectors.tolist()})


def ast() -> None:
    torch.manual_seed(4)
    config = ASTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, patch_size=16, frequency_stride=10,
                       time_stride=10, max_length=200, num_mel_bins=32, id2label=dict(enumerate(LABELS)),
                       label2id={label: index for index, label in enumerate(LABELS)})
    config.architectures = ["ASTForAudioClassification"]
    model = spread(ASTForAudioClassification(config), 6)
    extractor = ASTFeatureExtractor(num_mel_bins=32, max_length=200, mean=-4.2677393, std=4.5689974)
    folder = fresh_folder("ast")
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    values = extractor(sounds(), sampling_rate=RATE, return_tensors="pt")["input_values"]
    with torch.no_grad():
        logits = model(values).logits
    print("ast", logits)
    export(lambda values: model(values).logits, model, {"input_values": values}, ["logits"], {"input_values": {0: "batch"}, "logits": {0: "batch"}},
           folder / "onnx" / "model.onnx")
    write_answers("ast", {"labels": LABELS, "probabilities": logits.softmax(dim=1).tolist(), "every_97th_value": [one.flatten()[::97].tolist() for one in values]})


# Whisper: windows of 3 seconds instead of 30, so that the table of times is short.
WINDOW_SECONDS = 3
LANGUAGES = ["en", "de", "fr"]
CORPUS = ["the call was about a broken washing machine", "please send it back to me", "I have been waiting for an hour",
          "die Rechnung ist falsch", "le colis est perdu"]


def whisper_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=110))
    steering = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES), "<|translate|>", "<|transcribe|>",
                "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens(steering)
    tokenizer.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(WINDOW_SECONDS * 50 + 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>", pad_token="<|endoftext|>")


def cache_of(past: list, layers: int) -> EncoderDecoderCache:
    """`past` holds for each layer key and value of what was written, then of what is looked at."""
    written, looked_at = DynamicCache(), DynamicCache()
    for layer in range(layers):
        own = past[4 * layer: 4 * layer + 4]
        written.update(own[0], own[1], layer)
        looked_at.update(own[2], own[3], layer)
    return EncoderDecoderCache(written, looked_at)


def flat(cache: EncoderDecoderCache, layers: int, with_looked_at: bool) -> list:
    found = []
    for layer in range(layers):
        caches = [cache.self_attention_cache, cache.cross_attention_cache][: 2 if with_looked_at else 1]
        for one in caches:
            found += [one.layers[layer].keys, one.layers[layer].values]
    return found


def merge(first: Path, later: Path, merged: Path) -> None:
    """One graph with both as branches of an `If`, as Optimum merges them."""
    graphs = {True: onnx.load(later).graph, False: onnx.load(first).graph}
    weights = {}
    for with_cache, graph in graphs.items():
        prefix = "later_" if with_cache else "first_"
        names = {name for node in graph.node for name in node.output} | {weight.name for weight in graph.initializer}
        # Equal weights are kept once.
        known = {}
        for weight in graph.initializer:
            content = (tuple(weight.dims), weight.data_type, weight.raw_data)
            known[weight.name] = weights.setdefault(content, prefix + weight.name)
        rename = lambda name: known.get(name, prefix + name if name in names else name)
        for node in graph.node:
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]
        for output in graph.output:
            output.name = rename(output.name)
    outputs = [output.name.removeprefix("first_") for output in graphs[False].output]
    branches = {}
    for with_cache, graph in graphs.items():
        prefix = "later_" if with_cache else "first_"
        own = {output.name: output for output in graph.output}
        nodes, listed = list(graph.node), []
        for output in outputs:
            if prefix + output in own:
                listed.append(own[prefix + output])
                continue
            # Unchanged since the first step: something without meaning is returned.
            empty = helper.make_tensor(f"{prefix}{output}_value", TensorProto.FLOAT, [0, 2, 1, 8], [])
            nodes.append(helper.make_node("Constant", [], [prefix + output], value=empty))
            listed.append(helper.make_tensor_value_info(prefix + output, TensorProto.FLOAT, None))
        branches[with_cache] = helper.make_graph(nodes, f"{prefix}step", [], listed)
    node = helper.make_node("If", ["use_cache_branch"], outputs, then_branch=branches[True], else_branch=branches[False])
    inputs = {value.name: value for graph in (graphs[True], graphs[False]) for value in graph.input}
    switch = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    loaded = onnx.load(first)
    known = {weight.name: weight for graph in graphs.values() for weight in graph.initializer}
    stored = []
    for with_cache, graph in graphs.items():
        prefix = "later_" if with_cache else "first_"
        for weight in graph.initializer:
            if prefix + weight.name in weights.values():
                weight.name = prefix + weight.name
                stored.append(weight)
    # What is open in one branch is open in all.
    results = [helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type,
                                             ["batch" if index == 0 else f"{value.name}_{index}" if index in (1, 2) and len(value.type.tensor_type.shape.dim) != 4
                                              else "tokens" if index == 2 else dim.dim_value or dim.dim_param
                                              for index, dim in enumerate(value.type.tensor_type.shape.dim)]) for value in loaded.graph.output]
    graph = helper.make_graph([node], "decoder", [*inputs.values(), switch], results, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, merged)


def whisper() -> None:
    torch.manual_seed(0)
    tokenizer = whisper_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    layers = 2
    config = WhisperConfig(vocab_size=len(tokenizer), num_mel_bins=20, encoder_layers=1, decoder_layers=layers, encoder_attention_heads=2,
                           decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, d_model=16, max_source_positions=WINDOW_SECONDS * 50,
                           max_target_positions=24, decoder_start_token_id=ids("<|startoftranscript|>"), eos_token_id=ids("<|endoftext|>"),
                           bos_token_id=ids("<|endoftext|>"), pad_token_id=ids("<|endoftext|>"), suppress_tokens=None, begin_suppress_tokens=None)
    config.architectures = ["WhisperForConditionalGeneration"]
    model = spread(WhisperForConditionalGeneration(config), 7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # What is heard must count beside what was written.
            if weight.dim() > 1 and ("encoder_attn" in name or "conv" in name):
                weight *= 3
    generation = GenerationConfig(
        decoder_start_token_id=ids("<|startoftranscript|>"), eos_token_id=ids("<|endoftext|>"), pad_token_id=ids("<|endoftext|>"),
        bos_token_id=ids("<|endoftext|>"), max_length=24, no_timestamps_token_id=ids("<|notimestamps|>"), max_initial_timestamp_index=25,
        suppress_tokens=[ids(token) for token in ("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|startoftranscript|>", "<|translate|>",
                                                  "<|transcribe|>", *(f"<|{language}|>" for language in LANGUAGES))],
        begin_suppress_tokens=[220, ids("<|endoftext|>")], is_multilingual=True, return_timestamps=False,
        lang_to_id={f"<|{language}|>": ids(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={"transcribe": ids("<|transcribe|>"), "translate": ids("<|translate|>")})
    model.generation_config = generation
    extractor = WhisperFeatureExtractor(feature_size=20, chunk_length=WINDOW_SECONDS)
    folder = fresh_folder("whisper")
    config.save_pretrained(folder)
    generation.save_pretrained(folder)
    extractor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)

    answers = {"without_times": {}, "with_times": []}
    for name, sound in zip(CLIPS, sounds()):
        if len(sound) <= WINDOW_SECONDS * RATE:
            features = extractor(sound, sampling_rate=RATE, return_tensors="pt").input_features
            for task in ("transcribe", "translate"):
                without_times = [*generation.suppress_tokens, *range(ids("<|0.00|>"), len(tokenizer))]
                tokens = model.generate(features, language="de", task=task, suppress_tokens=without_times)[0]
                answers["without_times"].setdefault(task, []).append(tokenizer.decode(tokens, skip_special_tokens=True).strip())
            answers.setdefault("every_97th_value", []).append(features.flatten()[::97].tolist())
        features = extractor(sound, sampling_rate=RATE, return_tensors="pt", truncation=False, padding="longest").input_features
        window = torch.nn.functional.pad(features[:, :, :WINDOW_SECONDS * 100], (0, max(0, WINDOW_SECONDS * 100 - features.shape[2])))
        language = tokenizer.decode([int(model.detect_language(window)[0])]).strip("<|>")
        found = model.generate(features, return_timestamps=True, return_segments=True, task="transcribe", language=language)
        first = ids("<|0.00|>")
        segments = [{"start": float(one["start"]), "end": float(one["end"]), "tokens": [int(token) for token in one["tokens"]],
                     "text": tokenizer.decode([token for token in one["tokens"] if token < first], skip_special_tokens=True).strip()} for one in found["segments"][0]]
        answers["with_times"].append({"segments": segments, "language": language})
        print(name, answers["with_times"][-1])
    print(answers["without_times"])
    write_answers("whisper", answers)

    features = extractor(sounds()[0], sampling_rate=RATE, return_tensors="pt").input_features
    start = torch.tensor([[ids("<|startoftranscript|>"), ids("<|en|>"), ids("<|transcribe|>")]])
    decoder = lambda **inputs: model.model.decoder(use_cache=True, **inputs)
    encode = lambda features: model.model.encoder(features).last_hidden_state

    def first_step(tokens, states):
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        found = decoder(input_ids=tokens, encoder_hidden_states=states, past_key_values=cache)
        return [model.proj_out(found.last_hidden_state), *flat(cache, layers, True)]

    def later_step(tokens, *past):
        cache = cache_of(past, layers)
        found = decoder(input_ids=tokens, encoder_hidden_states=past[2], past_key_values=cache,
                        position_ids=torch.arange(past[0].shape[2], past[0].shape[2] + tokens.shape[1]).unsqueeze(0))
        return [model.proj_out(found.last_hidden_state), *flat(cache, layers, False)]

    with torch.no_grad():
        states = encode(features)
        past = first_step(start, states)[1:]
        both = ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
        names = [f"{layer}.{part}" for layer in range(layers) for part in both]
        own = [name for name in names if ".decoder." in name]
        axes = {"input_features": {0: "batch"}, "last_hidden_state": {0: "batch"}, "input_ids": {0: "batch", 1: "tokens"},
                "encoder_hidden_states": {0: "batch"}, "logits": {0: "batch", 1: "tokens"}}
        axes |= {f"{side}.{name}": {0: "batch", 2: f"{side}_tokens"} if ".decoder." in name else {0: "batch", 2: "steps"}
                 for side in ("past_key_values", "present") for name in names}
        export(encode, model, {"input_features": features}, ["last_hidden_state"], axes, folder / "onnx" / "encoder_model.onnx")
        pair = fresh_folder("whisper_past") / "onnx"
        export(first_step, model, {"input_ids": start, "encoder_hidden_states": states}, ["logits", *(f"present.{name}" for name in names)], axes,
               pair / "decoder_model.onnx")
        inputs = {"input_ids": start[:, :1]} | {f"past_key_values.{name}": value for name, value in zip(names, past)}
        export(later_step, model, inputs, ["logits", *(f"present.{name}" for name in own)], axes, pair / "decoder_with_past_model.onnx")
        merge(pair / "decoder_model.onnx", pair / "decoder_with_past_model.onnx", folder / "onnx" / "decoder_model_merged.onnx")


if __name__ == "__main__":
    torch.set_num_threads(1)
    wav2vec2("wav2vec2", True)
    wav2vec2("wav2vec2_group", False)
    xvector()
    ast()
    whisper()
    print(f"{sum(path.stat().st_size for path in FOLDER.rglob('*') if path.is_file()):,} bytes")
