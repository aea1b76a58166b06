"""Stable Diffusion of random weights, large enough that its graphs take most of the time, as Optimum exports it.

    python tests/bench/diffusion_model.py [FOLDER]

Writes `FOLDER` (66 MB, default `~/.cache/sensorium/bench/diffusion`): 256 pixels a side. In the
environment of `tests/reference/diffusion_models.py`.
"""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from optimum.exporters.onnx import onnx_export_from_model
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
import diffusion_models  # noqa: E402

FOLDER = Path.home() / ".cache" / "sensorium" / "bench" / "diffusion"
WIDTH, SIDE = 256, 256


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    torch.manual_seed(12)
    own = diffusion_models.tokenizer()
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(own), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=diffusion_models.LENGTH, projection_dim=WIDTH, bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id))
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8, in_channels=4, out_channels=4, block_out_channels=(96, 192, 192), layers_per_block=1, norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=WIDTH, attention_head_dim=8)
    vae = AutoencoderKL(
        sample_size=SIDE, in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(16, 32, 32, 32), layers_per_block=1,
        norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    made = {"tokenizer": own, "text_encoder": text.eval(), "unet": unet.eval(), "vae": vae.eval(), "safety_checker": None,
            "feature_extractor": None, "requires_safety_checker": False}
    pipeline = StableDiffusionPipeline(**made, scheduler=diffusion_models.scheduler_of(diffusion_models.DDIM))
    onnx_export_from_model(pipeline, folder, task="text-to-image", do_validation=False)


if __name__ == "__main__":
    main()
