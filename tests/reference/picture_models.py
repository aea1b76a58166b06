"""`vit/`: a picture classifier of random weights in the layout that Optimum writes, `vit_pictures/`: photographs as its
processor leaves them before it normalises, and `vit.json`: what transformers' own processor and model give for them."""

import json
import shutil

import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from agreement import apart, check, rounded
from joint_models import PICTURES, prepared
from places import FIXTURES
from sound_models import export

LABELS = ["person", "animal", "thing", "texture"]
SIDE = 32


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Larger weights than untrained ones, and a head whose answers differ clearly between photographs."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight *= 3 if "q_proj" in name or "k_proj" in name else 6
            if name == "classifier.weight":
                weight *= 3
    return model.eval()


def vit() -> None:
    """The model, its photographs and its answers."""
    torch.manual_seed(11)
    labels = dict(id2label=dict(enumerate(LABELS)), label2id={label: index for index, label in enumerate(LABELS)})
    config = ViTConfig(image_size=SIDE, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                       intermediate_size=48, **labels)
    config.architectures = ["ViTForImageClassification"]
    model = spread(ViTForImageClassification(config))
    processor = ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})
    folder = FIXTURES / "vit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)

    photographs = [Image.open(FIXTURES / "pictures" / name).convert("RGB") for name in PICTURES]
    pixels = processor(images=photographs, return_tensors="pt")["pixel_values"]
    kept = processor(images=prepared(processor, FIXTURES / "vit_pictures"), return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, kept), "the prepared pictures do not stand for the photographs"
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
    apart("vit", logits)
    axes = {"pixel_values": {0: "batch"}, "logits": {0: "batch"}}
    path = folder / "model.onnx"
    export(lambda values: model(pixel_values=values).logits, model, {"pixel_values": pixels}, ["logits"], axes, path)
    check(path, {"pixel_values": pixels}, {"logits": logits})
    check(path, {"pixel_values": pixels[:1]}, {"logits": logits[:1]})
    best = [LABELS[index] for index in logits.argmax(dim=1)]
    (FIXTURES / "vit.json").write_text(json.dumps({
        "pictures": PICTURES, "labels": LABELS, "logits": rounded(logits), "probabilities": rounded(logits.softmax(dim=1)),
        "best": best,
    }))
    print(best, rounded(logits.softmax(dim=1)), f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    torch.set_num_threads(1)
    vit()
