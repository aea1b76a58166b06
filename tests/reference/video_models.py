"""`videos/`: short made-up videos in the formats that are read and in two that are not, and `videos.json`: the times and the
colours of what ffmpeg or Pillow decodes. `video/` and `video.json`: a classifier of videos with random weights in the
layout that Optimum writes, and what transformers' own processor and model give. `hostile/*.mp4`: files to be refused.

Shapes are drawn by Pillow, nothing is filmed; ffmpeg is that of PyPI `imageio-ffmpeg`, on one thread.
"""

import io
import json
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

from agreement import apart, check, rounded
from places import FIXTURES
from sound_models import export

FOLDER = FIXTURES / "videos"
WIDTH, HEIGHT, RATE, FRAMES = 48, 32, 12, 24
COLORS = ["#202830", "#e8e0d0", "#c83232", "#2f8f3a", "#3050c8", "#e0b020", "#8a40a0", "#40b8c0"]
GRID_COLUMNS, GRID_ROWS = 4, 3
ANIMATIONS = [".gif", ".apng", ".webp"]
REFUSED = ["hevc.mp4", "vp9.webm"]
ACCURATE = ["-sws_flags", "neighbor+accurate_rnd+full_chroma_int"]
SAMPLED, SIDE = 8, 32
LABELS = ["walk", "turn", "jump"]


def drawn(seed: int, count: int) -> list:
    """Frames in which a disc, a square and a bar move, each at its own speed, over two flat colours."""
    random = np.random.default_rng(seed)
    ground, wall, *colors = random.permutation(COLORS)[:5]
    starts, speeds = random.uniform(0, 1, (3, 2)), random.uniform(-0.06, 0.06, (3, 2))
    frames = []
    for index in range(count):
        frame = Image.new("RGB", (WIDTH, HEIGHT), wall)
        pen = ImageDraw.Draw(frame)
        pen.rectangle([0, HEIGHT * 2 // 3, WIDTH, HEIGHT], fill=ground)
        for shape, (start, speed) in enumerate(zip(starts, speeds)):
            # There and back again, as between two mirrors.
            x, y = np.abs((start + index * speed) % 2 - 1) * (WIDTH - 12, HEIGHT - 12)
            box = [int(x), int(y), int(x) + (14 if shape == 2 else 10), int(y) + (5 if shape == 2 else 10)]
            (pen.ellipse if shape == 0 else pen.rectangle)(box, fill=colors[shape])
        # A corner that is never the same in two frames after each other.
        pen.rectangle([0, 0, 1 + index % 3, 1], fill=colors[0])
        frames.append(frame)
    return frames


def ffmpeg(*arguments, given: bytes = b"", level: str = "error") -> subprocess.CompletedProcess:
    """ffmpeg fed with `given`; what it says comes back with what it writes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-y", "-loglevel", level, *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=True)


def encode(frames: list, path: Path, *arguments) -> None:
    """`frames` at 12 a second, with ffmpeg's `arguments`."""
    raw = b"".join(frame.tobytes() for frame in frames)
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", RATE, "-i", "-", "-threads", 1,
           "-fflags", "+bitexact", "-flags:v", "+bitexact", *arguments, path, given=raw)


def write_films() -> None:
    """Files of a codec and a container."""
    h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", 20, "-g", 12]
    mjpeg = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", 4]
    encode(drawn(1, FRAMES), FOLDER / "baseline.mp4", *h264, "-profile:v", "baseline", "-movflags", "+faststart")
    encode(drawn(2, FRAMES), FOLDER / "high.mp4", *h264, "-profile:v", "high", "-bf", 2)
    encode(drawn(3, FRAMES), FOLDER / "main.mkv", *h264, "-profile:v", "main", "-bf", 2)
    encode(drawn(4, FRAMES), FOLDER / "mjpeg.mov", *mjpeg)
    encode(drawn(5, FRAMES), FOLDER / "mjpeg.avi", *mjpeg)
    encode(drawn(6, FRAMES), FOLDER / "hevc.mp4", "-c:v", "libx265", "-pix_fmt", "yuv420p", "-crf", 24, "-tag:v", "hvc1",
           "-x265-params", "log-level=none:pools=none:frame-threads=1")
    encode(drawn(7, FRAMES), FOLDER / "vp9.webm", "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", 30, "-b:v", 0)
    ffmpeg("-display_rotation", 90, "-i", FOLDER / "baseline.mp4", "-c", "copy", "-fflags", "+bitexact", FOLDER / "rotated.mp4")


def write_animations() -> None:
    """GIF's frames last 80 and 90 ms in turn, as it counts in hundredths of a second; the others' 83 ms, the last longer."""
    for name, seed, count in (("moving.gif", 11, FRAMES), ("short.gif", 12, 5), ("moving.apng", 13, 20), ("moving.webp", 14, 30)):
        first, *others = drawn(seed, count)
        if name.endswith(".gif"):
            palette = first.quantize(len(COLORS))
            first, others = palette, [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in others]
            times = [80 + 10 * (index % 2) for index in range(count)]
        else:
            times = [83] * (count - 1) + [250]
        more = {"lossless": True, "method": 6} if name.endswith(".webp") else {}
        kind = {"gif": "GIF", "apng": "PNG", "webp": "WEBP"}[name.split(".")[1]]
        first.save(FOLDER / name, kind, save_all=True, append_images=others, duration=times, loop=0, **more)
        decoded = animation(FOLDER / name)[0]
        assert len(decoded) == count
        for index, (frame, before) in enumerate(zip(decoded, drawn(seed, count))):
            assert np.array_equal(frame, np.array(before)), (name, index)


def animation(path: Path) -> tuple:
    """Frames `[n, height, width, 3]`, the time at which each starts and the end of the last, in seconds, by Pillow."""
    frames, times = [], [0]
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.array(image.convert("RGB")))
            times.append(times[-1] + round(image.info["duration"]))
    return np.stack(frames), [time / 1000 for time in times[:-1]], times[-1] / 1000


def film(path: Path) -> tuple:
    """What `animation` gives, by ffmpeg, which turns a rotated picture upright; then the same frames in ffmpeg's usual
    colours, and the planes Y, Cb and Cr of each frame.

    By default ffmpeg rounds down when it makes RGB, so that means are 1 to 2 levels lower than the formulas of BT.601
    say. The first frames are within a level of these, each sample of Cb and Cr standing for its 2 x 2 pixels.
    """
    log = ffmpeg("-i", path, "-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-", level="info").stderr.decode()
    times = [float(time) for time in re.findall(r"pts_time:([0-9.]+)", log)]
    width, height = map(int, re.findall(r" s:(\d+)x(\d+)", log)[0])

    def read(form: str, *flags) -> np.ndarray:
        raw = ffmpeg("-i", path, *flags, "-fps_mode", "passthrough", "-pix_fmt", form, "-f", "rawvideo", "-").stdout
        return np.frombuffer(raw, np.uint8).reshape(len(times), -1)

    frames, usual = (read("rgb24", *flags).reshape(-1, height, width, 3) for flags in (ACCURATE, []))
    assert len(times) == FRAMES, (path, len(times))
    return frames, times, FRAMES / RATE, usual, read("yuvj420p" if "mjpeg" in path.name else "yuv420p")


def colors(frame: np.ndarray) -> list:
    """Mean R, G and B of 12 cells, by rows: cell (row, column) is from height * row // 3 and width * column // 4 on."""
    height, width, _ = frame.shape
    rows = [slice(height * row // GRID_ROWS, height * (row + 1) // GRID_ROWS) for row in range(GRID_ROWS)]
    columns = [slice(width * column // GRID_COLUMNS, width * (column + 1) // GRID_COLUMNS) for column in range(GRID_COLUMNS)]
    return [rounded(frame[row, column].reshape(-1, 3).mean(axis=0).round(3)) for row in rows for column in columns]


def described() -> dict:
    """What is in each video: frames 0, in the middle (n // 2) and the last in detail."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.name in REFUSED:
            continue
        moving = path.suffix in ANIMATIONS
        frames, times, end, *more = animation(path) if moving else film(path)
        chosen = [0, len(frames) // 2, len(frames) - 1]
        found[path.name] = {
            "width": frames.shape[2], "height": frames.shape[1], "frames": len(frames), "times": times, "end": round(end, 6),
            "exact": moving, "described": [{"frame": index, "colors": colors(frames[index])} for index in chosen],
        }
        if more:
            usual, planes = more
            for index, one in zip(chosen, found[path.name]["described"]):
                one["ffmpeg_colors"] = colors(usual[index])
            if "mjpeg" not in path.name and path.name != "rotated.mp4":
                found[path.name]["crc32_of_planes"] = [zlib.crc32(one.tobytes()) for one in planes]
    return found


# The classifier


def sampled(count: int) -> np.ndarray:
    """Numbers of the frames that the model sees: 8 at equal distances from the first to the last."""
    return np.linspace(0, count - 1, SAMPLED).round().astype(int)


def spread(model: torch.nn.Module) -> torch.nn.Module:
    """Larger weights than untrained ones."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight *= 2 if ".query." in name or ".key." in name else 8
    return model.eval()


def videomae() -> None:
    """The model and its answers. Only animations are decoded to the same pixels everywhere: films are beside them."""
    torch.manual_seed(41)
    labels = dict(id2label=dict(enumerate(LABELS)), label2id={label: index for index, label in enumerate(LABELS)})
    config = VideoMAEConfig(image_size=SIDE, patch_size=16, num_frames=SAMPLED, tubelet_size=2, hidden_size=16,
                            num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, decoder_hidden_size=16,
                            decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=24, **labels)
    config.architectures = ["VideoMAEForVideoClassification"]
    model = spread(VideoMAEForVideoClassification(config))
    processor = VideoMAEImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    folder = FIXTURES / "video"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    paths = [path for path in sorted(FOLDER.iterdir()) if path.name not in [*REFUSED, "rotated.mp4"]]
    chosen, prepared = [], []
    for path in paths:
        frames = (animation if path.suffix in ANIMATIONS else film)(path)[0]
        chosen.append(sampled(len(frames)))
        prepared.append(processor(list(frames[chosen[-1]]), return_tensors="pt")["pixel_values"])
    pixels = torch.cat(prepared)
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
        # Frames in the wrong order must be seen.
        assert (model(pixel_values=pixels.flip(1)).logits - logits).abs().amax(dim=1).min() > 0.01
    apart("video", logits)
    path = folder / "model.onnx"
    axes = {"pixel_values": {0: "batch"}, "logits": {0: "batch"}}
    export(lambda values: model(pixel_values=values).logits, model, {"pixel_values": pixels}, ["logits"], axes, path)
    check(path, {"pixel_values": pixels}, {"logits": logits})
    check(path, {"pixel_values": pixels[:1]}, {"logits": logits[:1]})
    rows = [{"video": video.name, "exact": video.suffix in ANIMATIONS, "frames": picked.tolist(), "logits": rounded(row),
             "probabilities": rounded(row.softmax(dim=0)), "best": LABELS[row.argmax()]}
            for video, picked, row in zip(paths, chosen, logits)]
    (FIXTURES / "video.json").write_text(json.dumps({"labels": LABELS, "videos": rows}))
    print({row["video"]: (row["best"], row["logits"]) for row in rows})


# Files to be refused


def find_box(content: bytes, kind: bytes) -> int:
    """Where the only box of this kind begins its content, after length and kind."""
    assert content.count(kind) == 1, kind
    return content.index(kind) + 4


def endless(content: bytes) -> bytes:
    """The tables say 2^32 - 1 frames, and 49 days of them in milliseconds."""
    made = bytearray(content)
    # After version and flags: times of creation and change, then in mvhd and mdhd units in a second and duration, in tkhd
    # track, nothing and duration.
    struct.pack_into(">I", made, find_box(content, b"mvhd") + 16, 2**32 - 2)
    struct.pack_into(">I", made, find_box(content, b"mdhd") + 16, 2**32 - 2)
    struct.pack_into(">I", made, find_box(content, b"tkhd") + 20, 2**32 - 2)
    # One run of frames of one duration.
    assert struct.unpack_from(">I", content, find_box(content, b"stts") + 4) == (1,)
    struct.pack_into(">I", made, find_box(content, b"stts") + 8, 2**32 - 1)
    return bytes(made)


def many_sizes(content: bytes) -> bytes:
    """2^32 - 1 frames of 100 bytes each, which needs no table."""
    made = bytearray(content)
    struct.pack_into(">II", made, find_box(content, b"stsz") + 4, 100, 2**32 - 1)
    return bytes(made)


def write_hostile() -> None:
    """truncated.mp4 ends before its tables, cut.mp4 within its pictures; the other two promise billions of frames."""
    tables_last, tables_first = ((FOLDER / name).read_bytes() for name in ("high.mp4", "baseline.mp4"))
    assert tables_last.index(b"mdat") < tables_last.index(b"moov") and tables_first.index(b"moov") < tables_first.index(b"mdat")
    start = tables_first.index(b"mdat")
    contents = {
        "truncated.mp4": tables_last[: len(tables_last) // 2], "cut.mp4": tables_first[: (start + len(tables_first)) // 2],
        "endless.mp4": endless(tables_first), "many_frames.mp4": many_sizes(tables_first),
    }
    for name, content in contents.items():
        (FIXTURES / "hostile" / name).write_bytes(content)
        print(f"{name}: {len(content)} bytes")


def long_gif(frames: int = 100_000) -> bytes:
    """An animation of 2 x 2 pixels, the first of which is black and white in turn: 15 bytes a frame, so it is not kept
    as a file.

    A frame is a separator, its place and size, no colours of its own, and three codes of three bits: clear, colour, end.
    """
    header = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    place = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    frame = [place + bytes([2, 2, data, 1, 0]) for data in (0x44, 0x4C)]
    return header + b"".join(frame[index % 2] for index in range(frames)) + b"\x3b"


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    write_films()
    write_animations()
    (FIXTURES / "videos.json").write_text(json.dumps({"refused": REFUSED, "videos": described()}))
    videomae()
    write_hostile()
    with Image.open(io.BytesIO(long_gif(100))) as image:
        assert image.n_frames == 100
        for index in range(100):
            image.seek(index)
            image.load()
            assert image.convert("RGB").getpixel((0, 0)) == (255 * (index % 2),) * 3, index
    made = [*FOLDER.iterdir(), *(FIXTURES / "video").iterdir(), FIXTURES / "videos.json", FIXTURES / "video.json"]
    sizes = {path.name: path.stat().st_size for path in made}
    print(sizes, f"together {sum(sizes.values()):,}")


if __name__ == "__main__":
    main()
