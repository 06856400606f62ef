"""Label a picture with the exported model: python example.py PICTURE..."""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

HERE = Path(__file__).parent


def prepare(path: str, height: int, width: int) -> npt.NDArray[np.float32]:
    """A picture file as (1, 3, H, W) float32 in [0, 1]."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # grey of 16 bits, of which RGB would keep the darkest only
        image = Image.fromarray((np.asarray(image) / 65535 * 255).clip(0, 255).astype(np.uint8))
    image = image.convert("RGB")
    scale = max(width / image.width, height / image.height)
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    image = image.crop((left, top, left + width, top + height))
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1)[None] / np.float32(255)


def main(pictures: list[str]) -> None:
    """Print the most likely label of each picture."""
    labels = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    height, width = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))["size"]
    interpreter = Interpreter(model_path=str(HERE / "model.tflite"))
    run = interpreter.get_signature_runner("serving_default")
    for name in pictures:
        logits = run(images=prepare(name, height, width))["logits"][0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = int(scores.argmax())
        print(f"{name}: {labels[best]} ({scores[best]:.1%})")


if __name__ == "__main__":
    main(sys.argv[1:])
