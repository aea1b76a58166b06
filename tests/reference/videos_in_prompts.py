"""`vision_language/videos.json`: what the models of `vision_language_models.py` write about videos, whose frames they see as pictures.

Frames are Pillow's, at the places `round(linspace(0, count - 1, frames))`; prompts and tensors are made by transformers' own processors, and
texts by a greedy loop over the exported graphs in ONNX Runtime, one row at a time. After `vision_language_models.py` and
`video_models.py`, in the environment of the former.
"""

import json

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor

from vision_language import FOLDER, PICTURES, ROOT, SOUNDS, Graphs, parts, picture, sound

FRAMES = {"llava": 8, "gemma3n": 5, "idefics": 3}
TOKENS = 16
MOVING, SHORT = "tests/fixtures/videos/moving.gif", "tests/fixtures/videos/short.gif"
CAT, CUP = PICTURES[1:3]
ROWS = [
    ("<video>What happens here?", [], [MOVING]),
    ("<video>What happens here?", [], [SHORT]),
    ("Is <image>seen in <video>or in <image>?", [CAT, CUP], [MOVING]),
    ("<video>Which supplier<image>", [CUP], [SHORT]),
    ("<video>and <video>", [], [SHORT, MOVING]),
]


def frames(path: str, count: int) -> list:
    video = Image.open(ROOT / path)
    found = []
    for place in np.round(np.linspace(0, video.n_frames - 1, count)).astype(int):
        video.seek(place)
        found.append(video.convert("RGB"))
    return found


def shown(prompt: str, images: list, videos: list, count: int) -> tuple:
    """The prompt with a marker for each frame, and its pictures in their order."""
    images, videos = iter(images), iter(videos)
    text, pictures = "", []
    for part in parts_of(prompt):
        if part == "<video>":
            pictures += frames(next(videos), count)
            text += "<image>" * count
        else:
            pictures += [picture(next(images))] if part == "<image>" else []
            text += part
    return text, pictures


def parts_of(prompt: str) -> list:
    return [part for piece in prompt.split("<video>") for part in ("<video>", *pieces(piece))][1:]


def pieces(text: str) -> list:
    return [f"<{part['type']}>" if part["type"] != "text" else part["text"] for part in parts(text)]


def greedy(graphs: Graphs, folder, ids: torch.Tensor, decoder_inputs) -> list:
    """`decoder_inputs(ids, new)` gives what the decoder takes of the last `new` tokens."""
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    ends, new, tokens = ends if isinstance(ends, list) else [ends], ids.shape[1], []
    while len(tokens) < TOKENS and (not tokens or tokens[-1] not in ends):
        logits = graphs.logits(torch.ones_like(ids), new, **decoder_inputs(ids, new))[0, -1]
        best = np.sort(logits)[-2:]
        assert best[1] - best[0] > 1e-3, "no clear choice"
        tokens.append(int(logits.argmax()))
        ids, new = torch.cat([ids, torch.tensor([[tokens[-1]]])], 1), 1
    return tokens[:-1] if tokens[-1] in ends else tokens


def inserted(graphs: Graphs, ids, new: int, media: dict) -> dict:
    """Vectors of tokens, with those of media, `{token: vectors}`, in their places."""
    found = graphs.run("embed_tokens", input_ids=ids[:, -new:])
    if new == ids.shape[1]:
        for token, vectors in media.items():
            found[0][ids.numpy() == token] = vectors
    return dict(zip(("inputs_embeds", "per_layer_inputs"), found))


def chat(processor, prompt: str) -> str:
    return processor.apply_chat_template([{"role": "user", "content": parts(prompt)}], add_generation_prompt=True)


def llava(graphs: Graphs, processor, prompt: str, pictures: list, _heard) -> tuple:
    inputs = processor(text=chat(processor, prompt), images=pictures, return_tensors="pt")
    vectors = graphs.run("vision_encoder", pixel_values=inputs["pixel_values"])[0].reshape(-1, 32)
    return inputs["input_ids"], lambda ids, new: inserted(graphs, ids, new, {3: vectors})


def gemma3n(graphs: Graphs, processor, prompt: str, pictures: list, heard) -> tuple:
    config = json.loads((FOLDER / "gemma3n/config.json").read_text())
    inputs = processor(text=chat(processor, prompt), images=[pictures], audio=[sound(heard)] if heard else None, add_special_tokens=False,
                       return_tensors="pt")
    media = {config["image_token_id"]: graphs.run("vision_encoder", pixel_values=inputs["pixel_values"])[0].reshape(-1, 32)}
    if heard:
        known = {name: inputs[name] for name in ("input_features", "input_features_mask")}
        media[config["audio_token_id"]] = graphs.run("audio_encoder", **known)[0].reshape(-1, 32)
    return inputs["input_ids"], lambda ids, new: inserted(graphs, ids, new, media)


def idefics(graphs: Graphs, processor, prompt: str, pictures: list, _heard) -> tuple:
    own = iter(pictures)
    content = [part["text"] if part["type"] == "text" else next(own) for part in parts(prompt)]
    inputs = processor(text=content, return_tensors="pt")
    seen = graphs.run("vision_encoder", pixel_values=inputs["pixel_values"][0])[0][None]
    mask = inputs["image_attention_mask"].long()

    def decoder_inputs(ids, new):
        grown = torch.cat([mask, mask[:, -1:].expand(-1, ids.shape[1] - mask.shape[1], -1)], 1)
        return {"input_ids": ids[:, -new:], "perceiver_embeddings": seen, "image_attention_mask": grown[:, -new:]}

    return inputs["input_ids"], decoder_inputs


def main() -> None:
    found = {}
    for model in (llava, gemma3n, idefics):
        name = model.__name__
        graphs, processor = Graphs(FOLDER / name), AutoProcessor.from_pretrained(FOLDER / name)
        rows = [(*row, None) for row in ROWS]
        if name == "gemma3n":
            rows.append(("<audio>said of <video>and <image>", [CAT], [MOVING], SOUNDS[1]))
        found[name] = []
        for prompt, images, videos, heard in rows:
            text, pictures = shown(prompt, images, videos, FRAMES[name])
            ids, decoder_inputs = model(graphs, processor, text, pictures, heard)
            tokens = greedy(graphs, FOLDER / name, ids, decoder_inputs)
            answer = processor.tokenizer.decode(tokens, skip_special_tokens=True)
            found[name].append({"prompt": prompt, "images": images, "videos": videos, "audio": heard, "frames": FRAMES[name], "text": answer})
            print(name, found[name][-1])
        assert len({one["text"] for one in found[name]}) == len(rows), "a video that changes nothing"
    (FOLDER / "videos.json").write_text(json.dumps(found, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
