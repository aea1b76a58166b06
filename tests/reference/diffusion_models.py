"""`diffusion/`: Stable Diffusion of random weights as Optimum exports it, and `answers.json`: the pictures that diffusers makes with it.

`answers.json` names arrays as `{"at": .., "shape": ..}`: they lie in `answers.f32`, little-endian, from the number `at` on. Runs in the
environment of `text_models.py`, with diffusers added:

    pip install torch==2.15.0 transformers==4.57.6 optimum==2.1.0 optimum-onnx==0.1.0 onnx==1.23.2 onnxruntime==1.31.1
    pip install diffusers==0.38.0 huggingface_hub==0.36.2
"""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import diffusers
import numpy as np
import onnxruntime
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from optimum.exporters.onnx import onnx_export_from_model
from optimum.onnxruntime import ORTStableDiffusionImg2ImgPipeline, ORTStableDiffusionPipeline
from PIL import Image, ImageDraw
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from places import FIXTURES
from two_towers import strip_traces

FOLDER = FIXTURES / "diffusion"
MODEL = FOLDER / "model"
SIDE = 32
LENGTH = 77
MERGES = 80
CORPUS = [
    "a red square on a blue ground", "a green circle above the sea", "a photo of an old harbour at night, with lights on the water",
    "a drawing of a horse in the snow", "two yellow boats under a bridge", "blurry, dark, with text on it", "the ground is made of stone",
]
PROMPTS = [
    {"prompt": "a red square on a blue ground", "seed": 0},
    {"prompt": "A photo of an old harbour at night!", "negative_prompt": "blurry, dark", "seed": 42},
    {"prompt": "two yellow boats, " * 20, "seed": 2**40 + 7},  # longer than the text encoder reads
]
TEXTS = [
    *[one["prompt"] for one in PROMPTS], "", "blurry, dark", "it's 1995:  CAFÉ\n\tnaïve?!", "the captain's 2nd boat (50% off)",
    "größe 🙂🙂", "x" * 90, "a" + " a" * (LENGTH - 3), "a" + " a" * (LENGTH - 2),
]

# What a file says of the scheduler: as Stable Diffusion 1.5 has it, and less or other things.
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = {"_class_name": "PNDMScheduler", **SD, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
DDIM = {"_class_name": "DDIMScheduler", **SD, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
EULER = {"_class_name": "EulerDiscreteScheduler", **SD}
ANCESTRAL = {"_class_name": "EulerAncestralDiscreteScheduler", **SD}
DPM = {"_class_name": "DPMSolverMultistepScheduler", **SD, "algorithm_type": "dpmsolver++", "solver_order": 2}
KARRAS = {"use_karras_sigmas": True}
LEADING = {"timestep_spacing": "leading", "steps_offset": 1}
TRAILING = {"timestep_spacing": "trailing"}
V = {"prediction_type": "v_prediction"}
# Pipelines read `steps_offset` as 1 and `clip_sample` as false, whatever the file says.
BARE = {"_class_name": "DDIMScheduler"}

DEFAULTS = {"num_inference_steps": 8, "guidance_scale": 7.5}
CASES = {
    "pndm": {"scheduler": PNDM},
    "ddim": {"scheduler": DDIM},
    "ddim_unguided": {"scheduler": DDIM, "guidance_scale": 1.0},
    "euler": {"scheduler": EULER},
    "euler_ancestral": {"scheduler": ANCESTRAL},
    "dpm": {"scheduler": DPM},
    "dpm_karras": {"scheduler": DPM | KARRAS},
}
VARIANTS = {  # of the second prompt only
    "pndm_v": {"scheduler": PNDM | V, "guidance_scale": 3.0},
    "pndm_trailing": {"scheduler": PNDM | TRAILING | {"set_alpha_to_one": True}},
    "ddim_bare": {"scheduler": BARE},
    "ddim_linspace": {"scheduler": DDIM | {"timestep_spacing": "linspace", "set_alpha_to_one": True}},
    "ddim_v_snr": {"scheduler": DDIM | TRAILING | V | {"rescale_betas_zero_snr": True}},
    "ddim_cosine": {"scheduler": DDIM | {"beta_schedule": "squaredcos_cap_v2"}},
    "ddim_eta": {"scheduler": DDIM, "eta": 0.5},
    "euler_leading": {"scheduler": EULER | LEADING},
    "euler_karras": {"scheduler": EULER | KARRAS},
    "euler_v": {"scheduler": EULER | V | TRAILING},
    "euler_ancestral_v": {"scheduler": ANCESTRAL | V | LEADING},
    "dpm_leading": {"scheduler": DPM | LEADING},
    "dpm_v": {"scheduler": DPM | V},
    "dpm_heun": {"scheduler": DPM | {"solver_type": "heun", "final_sigmas_type": "sigma_min"}},
    "dpm_many": {"scheduler": DPM | TRAILING | {"final_sigmas_type": "sigma_min"}, "num_inference_steps": 16},
    "dpm_first": {"scheduler": DPM | TRAILING | {"solver_order": 1}},
    "two_steps": {"scheduler": PNDM, "num_inference_steps": 2},
    "one_step": {"scheduler": EULER, "num_inference_steps": 1},
    "wide": {"scheduler": DDIM, "height": 24, "width": 40},
}
IMAGE_TO_IMAGE = {f"{name}_image": asked | {"strength": 0.6} for name, asked in CASES.items() if name != "ddim_unguided"}


def merges() -> list:
    """Byte-pair encoding of the corpus' words, the first of equally frequent pairs by the alphabet. `tokenizers` takes any of them."""
    words = [[*word[:-1], word[-1] + "</w>"] for text in CORPUS for word in re.findall("[a-z]+", text)]
    found = []
    while len(found) < MERGES:
        counts = Counter(pair for word in words for pair in zip(word, word[1:]))
        pair = min(counts, key=lambda one: (-counts[one], one))
        found.append(pair)
        for word in words:
            while pair in (pairs := list(zip(word, word[1:]))):
                place = pairs.index(pair)
                word[place:place + 2] = ["".join(pair)]
    return found


def tokenizer() -> CLIPTokenizer:
    """In the order of CLIP's vocabulary: bytes, bytes that end words, what merges make, start and end."""
    alphabet, pairs = list(bytes_to_unicode().values()), merges()
    words = [*alphabet, *[one + "</w>" for one in alphabet], *["".join(pair) for pair in pairs], "<|startoftext|>", "<|endoftext|>"]
    vocabulary, ranks = FOLDER / "vocab.json", FOLDER / "merges.txt"
    vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    ranks.write_text("#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in pairs))
    own = CLIPTokenizer(vocabulary, ranks, model_max_length=LENGTH)
    vocabulary.unlink(), ranks.unlink()
    return own


def spread(model: torch.nn.Module, times: float) -> torch.nn.Module:
    """Larger weights than untrained ones, so that a picture depends on its prompt."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight *= times
    return model.eval()


def parts() -> dict:
    own = tokenizer()
    torch.manual_seed(11)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(own), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, hidden_act="quick_gelu",
        max_position_embeddings=LENGTH, projection_dim=32, bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id))
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32, attention_head_dim=2)
    vae = AutoencoderKL(
        sample_size=SIDE, in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    return {"tokenizer": own, "text_encoder": spread(text, 5), "unet": spread(unet, 2), "vae": spread(vae, 1.5),
            "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def export(made: dict) -> None:
    onnx_export_from_model(StableDiffusionPipeline(**made, scheduler=scheduler_of(PNDM)), MODEL, task="text-to-image", do_validation=False)
    for graph in MODEL.glob("*/model.onnx"):
        strip_traces(graph)
    # Optimum writes `vocab.json` and `merges.txt` only; many folders have this beside them.
    fast = CLIPTokenizerFast.from_pretrained(MODEL / "tokenizer", from_slow=True)
    fast.backend_tokenizer.save(str(MODEL / "tokenizer" / "tokenizer.json"))


def scheduler_of(file: dict):
    return getattr(diffusers, file["_class_name"]).from_config(file)


def draw(path: Path) -> Image.Image:
    """A disc before a ground that changes from side to side."""
    across, down = np.meshgrid(np.linspace(0, 255, SIDE), np.linspace(0, 255, SIDE))
    picture = Image.fromarray(np.stack([across, down, 255 - across / 2 - down / 2], axis=-1).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((8, 10, 22, 24), fill=(230, 40, 20), outline=(255, 255, 255))
    picture.save(path)
    return picture


class Numbers:
    """The arrays of `answers.f32`, each once."""

    def __init__(self):
        self.places, self.parts, self.length = {}, [], 0

    def add(self, array) -> dict:
        array = np.ascontiguousarray(array, dtype="<f4")
        place = self.places.setdefault(array.tobytes(), self.length)
        if place == self.length:
            self.parts.append(array.tobytes())
            self.length += array.size
        return {"at": place, "shape": list(array.shape)}


def run(pipeline, asked: dict, one: dict, picture: Image.Image | None, **more) -> np.ndarray:
    """Pixels from 0 to 1 before they are rounded, `[height, width, 3]`."""
    options = DEFAULTS | {key: value for key, value in asked.items() if key != "scheduler"} | more
    if picture is not None:
        options["image"] = picture
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(one["seed"])
    return pipeline(one["prompt"], negative_prompt=one.get("negative_prompt"), generator=generator, output_type="np", **options).images[0]


def made_with(pipeline, asked: dict, one: dict, numbers: Numbers, picture: Image.Image | None) -> tuple:
    """The arrays of one picture, and its pixels."""
    latents, added, add_noise = [], [], pipeline.scheduler.add_noise

    def keep_latents(_, step, timestep, values):
        latents.append(values["latents"][0].numpy().copy())
        return values

    def keep_noise(*values):
        added.append((*values, add_noise(*values)))
        return added[-1][-1]

    pipeline.scheduler.add_noise = keep_noise
    pixels = run(pipeline, asked, one, picture, callback_on_step_end=keep_latents)
    drawn = torch.Generator("cpu").manual_seed(one["seed"])
    noise = torch.randn((1, *latents[0].shape), generator=drawn)
    found = dict(one)
    if picture is None:
        found["noise"] = numbers.add(noise[0])
    else:
        # The first draw is for the encoder's distribution, the second is added to what that one gives.
        before, second, _, start = added[0]
        assert torch.equal(second, torch.randn(noise.shape, generator=drawn))
        with torch.no_grad():
            encoded = pipeline.vae.encode(pipeline.image_processor.preprocess(picture)).latent_dist
        assert torch.equal(before, pipeline.vae.config.scaling_factor * (encoded.mean + encoded.std * noise))
        arrays = {"encoded": encoded.parameters, "encoding_noise": noise, "image_latents": before, "noise": second, "start": start}
        found |= {name: numbers.add(array[0]) for name, array in arrays.items()}
    return found | {"latents": numbers.add(latents[-1]), "pixels": numbers.add(pixels)}, pixels


def case(name: str, asked: dict, prompts: list, made: dict, runtimes: dict, numbers: Numbers, picture: Image.Image | None = None) -> dict:
    pipeline = StableDiffusionPipeline if picture is None else StableDiffusionImg2ImgPipeline
    pictures, all_pixels, off = [], [], 0
    for one in prompts:
        own = pipeline(**made, scheduler=scheduler_of(asked["scheduler"]))
        found, pixels = made_with(own, asked, one, numbers, picture)
        pictures.append(found)
        all_pixels.append(pixels)
        runtimes[pipeline].scheduler = pipeline(**made, scheduler=scheduler_of(asked["scheduler"])).scheduler
        off = max(off, np.abs(pixels - run(runtimes[pipeline], asked, one, picture)).max())
    edge = np.mean([(one == 0) | (one == 1) for one in all_pixels])
    print(f"{name:22} ONNX Runtime within {off:.1e}, {edge:.1%} of the pixels 0 or 1")
    assert off < 2e-4 and edge < 0.1
    timesteps = own.scheduler.timesteps.tolist()
    height, width, _ = all_pixels[0].shape
    found = {"name": name, **DEFAULTS, "height": height, "width": width, **asked,
             "timesteps": timesteps[len(timesteps) - own.num_timesteps:], "init_noise_sigma": float(own.scheduler.init_noise_sigma)}
    if hasattr(own.scheduler, "sigmas"):
        found["sigmas"] = own.scheduler.sigmas.tolist()
    return found | {"pictures": pictures}


def depends(made: dict) -> None:
    """Another prompt with the same noise is another picture."""
    for name, asked in CASES.items():
        own = StableDiffusionPipeline(**made, scheduler=scheduler_of(asked["scheduler"]))
        pair = [run(own, asked, {"prompt": text, "seed": 0}, None) for text in CORPUS[:2]]
        apart = np.abs(pair[0] - pair[1]).mean()
        print(f"{name:22} another prompt changes pixels by {apart:.3f}")
        assert apart > 0.01


def main() -> None:
    torch.set_num_threads(1)
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    made = parts()
    export(made)
    depends(made)
    picture = draw(FOLDER / "image.png")
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    runtimes = {pipeline: kind.from_pretrained(MODEL, session_options=one_thread) for pipeline, kind in (
        (StableDiffusionPipeline, ORTStableDiffusionPipeline), (StableDiffusionImg2ImgPipeline, ORTStableDiffusionImg2ImgPipeline))}
    numbers = Numbers()
    cases = [case(name, asked, PROMPTS, made, runtimes, numbers) for name, asked in CASES.items()]
    cases += [case(name, asked, PROMPTS[1:2], made, runtimes, numbers) for name, asked in VARIANTS.items()]
    cases += [case(name, asked, PROMPTS[1:2], made, runtimes, numbers, picture) for name, asked in IMAGE_TO_IMAGE.items()]
    own = CLIPTokenizerFast.from_pretrained(MODEL / "tokenizer")
    texts = [{"text": text, "ids": ids(own, text)} for text in TEXTS]
    assert all(one["ids"] == ids(made["tokenizer"], one["text"]) for one in texts)
    (FOLDER / "answers.json").write_text(json.dumps({"texts": texts, "cases": cases}, ensure_ascii=False) + "\n")
    (FOLDER / "answers.f32").write_bytes(b"".join(numbers.parts))
    print(f"{sum(path.stat().st_size for path in FOLDER.rglob('*') if path.is_file()):,} bytes")


def ids(own, text: str) -> list:
    return own(text, padding="max_length", max_length=LENGTH, truncation=True)["input_ids"]


if __name__ == "__main__":
    main()
