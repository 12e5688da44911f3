"""PNG files as Pillow writes them, and PSNR and SSIM as scikit-image measures them: python3 make_goldens.py
Writes goldens.json. Needs numpy, pillow and scikit-image."""
import base64, io, json, os
import numpy as np
import PIL
import skimage
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def picture(w, h):
    """The picture that metrics_test.ts computes too, [h, w, 3]."""
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    return ((x * 7 + y * 13 + c * 29 + (x * y) % 17 * 3) % 256).astype(np.uint8)


def disturbed(a, amount):
    y, x, c = np.meshgrid(np.arange(a.shape[0]), np.arange(a.shape[1]), np.arange(3), indexing="ij")
    return np.clip(a.astype(int) + (x * 31 + y * 17 + c * 5) % (2 * amount + 1) - amount, 0, 255).astype(np.uint8)


def png(image, **options):
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    rgba = image.convert("RGBA") if image.mode != "I;16" else None
    case = {"png": base64.b64encode(data.getvalue()).decode()}
    if rgba is not None:
        case["rgba"] = base64.b64encode(Image.open(data).convert("RGBA").tobytes()).decode()
    return case


text = PngInfo()
text.add_text("parameters", "a cat\nSteps: 20, Sampler: DDIM")
text.add_itxt("Comment", "caf\u00e9 \U0001f34e \u65e5\u672c\u8a9e", zip=True)
text.add_text("zipped", "x" * 300, zip=True)
rgb = Image.fromarray(picture(5, 4))
grey16 = Image.fromarray((np.arange(20).reshape(4, 5) * 3449).astype(np.uint16))
pngs = {
    "rgb with text": png(rgb, pnginfo=text),
    "rgba": png(Image.merge("RGBA", [*rgb.split(), Image.fromarray(np.arange(0, 200, 10, dtype=np.uint8).reshape(4, 5))])),
    "grey": png(rgb.convert("L")),
    "grey and alpha": png(rgb.convert("LA")),
    "1 bit": png(rgb.convert("1")),
    "palette of 3": png(rgb.quantize(3)),
    "palette of 12": png(rgb.quantize(12)),
    "palette with transparency": png(rgb.quantize(12), transparency=bytes([0, 128, 255])),
    "rgb with a transparent colour": png(rgb, transparency=tuple(int(v) for v in picture(5, 4)[1, 2])),
    "grey of 16 bits": {**png(grey16), "rgba": base64.b64encode(bytes(v for g in np.asarray(grey16).ravel() for v in [round(int(g) / 257)] * 3 + [255])).decode()},
}
metrics = []
for w, h, amount in [(11, 11, 3), (16, 12, 20), (40, 33, 1), (40, 33, 60)]:
    a = picture(w, h)
    b = disturbed(a, amount)
    metrics.append({"width": w, "height": h, "amount": amount, "psnr": float(peak_signal_noise_ratio(a, b, data_range=255)),
                    "ssim": float(structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1))})
out = {"made with": f"Pillow {PIL.__version__}, scikit-image {skimage.__version__}", "metrics": metrics, "pngs": pngs}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens.json"), "w") as f:
    json.dump(out, f, indent=2)
    f.write("\n")
