"""Pillow's Lanczos on a small picture: writes resize_goldens.json. Needs Pillow and numpy."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

rng = np.random.default_rng(1)
picture = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
sizes = [(26, 20), (7, 5), (13, 4), (40, 9)]
goldens = {
    "width": 13,
    "height": 9,
    "rgb": picture.flatten().tolist(),
    "resized": [
        {"width": w, "height": h, "rgb": np.asarray(Image.fromarray(picture).resize((w, h), Image.LANCZOS)).flatten().tolist()}
        for w, h in sizes
    ],
}
Path(__file__).with_name("resize_goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n")
