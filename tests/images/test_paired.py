import json
import math

import numpy as np
import pytest

from guidekit.cli import main
from guidekit.domains.images import ImageError, Images, evaluate
from guidekit.domains.images.data import pictures
from guidekit.domains.images.files import write_folder
from guidekit.domains.images.paired import paired

TRUTH = list(pictures("fashion_mnist", "test").images[:6])


def off(image, by):
    return (image.astype(int) + by).clip(0, 255).astype(np.uint8)


def test_figures_by_hand():
    black, grey = np.zeros((16, 16), np.uint8), np.full((16, 16), 51, np.uint8)  # 51 / 255 = 0.2
    found = paired([grey, black, None], [black, black, black])
    assert (found["n_paired"], found["n_identical"]) == (2, 1)
    assert found["psnr"] == pytest.approx(10 * math.log10(1 / 0.04)) and math.isnan(found["psnr_sd"])
    # two flat images have no variance: SSIM is (2 a b + c) / (a^2 + b^2 + c) with c = .01^2
    assert found["ssim"] == pytest.approx((1 + 1e-4 / (0.04 + 1e-4)) / 2, abs=1e-6)
    found = paired([grey, off(grey, 51)], [black, black])
    one, two = (10 * math.log10(1 / x**2) for x in (0.2, 0.4))
    assert found["psnr"] == pytest.approx((one + two) / 2) and found["psnr_sd"] == pytest.approx(
        (one - two) / math.sqrt(2)
    )
    assert paired([None], [black]) == {"n_paired": 0}
    assert math.isnan(paired([black[:10, :10]], [grey[:10, :10]])["ssim"])


def test_order_and_numbers_matter():
    noisy = [off(image, np.random.default_rng(i).integers(-20, 21, image.shape)) for i, image in enumerate(TRUTH)]
    right, wrong = paired(noisy, TRUTH), paired(noisy, TRUTH[::-1])
    assert right["psnr"] > 25 > 15 > wrong["psnr"] and right["ssim"] > 0.7 > 0.4 > wrong["ssim"]
    assert paired([np.stack([image] * 3, 2) for image in noisy], [np.stack([image] * 3, 2) for image in TRUTH])[
        "psnr"
    ] == pytest.approx(right["psnr"])
    with pytest.raises(ValueError, match="5 samples and 6 reference images"):
        paired(noisy[:5], TRUTH)
    with pytest.raises(ImageError, match="pixels"):
        paired(noisy, [image[:20] for image in TRUTH])


def test_from_python_and_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy = [off(image, 10) for image in TRUTH]
    found = Images().evaluate(noisy, TRUTH, training=(), paired=True)
    assert found["psnr"] == paired(noisy, TRUTH)["psnr"] and "frechet_judge" in found
    assert "psnr" not in evaluate(noisy, TRUTH)
    np.savez("a.npz", images=np.stack(noisy))
    np.savez("b.npz", images=np.stack(TRUTH))
    asked = ["evaluate", "domain=images", "samples=a.npz", "domain.paired=true"]
    assert main([*asked, "reference=b.npz", "training=b.npz", "output=f.json"]) == 0
    assert json.loads((tmp_path / "f.json").read_text())["ssim"] == paired(noisy, TRUTH)["ssim"]
    assert main(asked) == 2 and "give reference=" in capsys.readouterr().err
    np.savez("b.npz", images=np.stack(TRUTH[:4]))
    assert main([*asked, "reference=b.npz"]) == 2 and "6 samples and 4 reference" in capsys.readouterr().err
    folder = tmp_path / "folder"
    write_folder(folder, noisy[:5])
    (folder / "image-00002.png").write_bytes(b"nothing")
    assert main(["evaluate", "domain=images", "samples=folder", "domain.paired=true", "reference=b.npz"]) == 2
    assert "no one knows what pairs are" in capsys.readouterr().err
