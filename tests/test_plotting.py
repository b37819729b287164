"""How pictures are laid out."""

import pytest
import torch

from vaekit.plotting import tiles


def test_tiles_put_each_image_in_its_place():
    images = torch.rand(2, 3, 16, requires_grad=True)
    for gap in (0, 1, 2):
        picture = tiles(images, gap=gap)
        assert picture.shape == (2 * (4 + gap) - gap, 3 * (4 + gap) - gap)
        assert picture.isfinite().sum() == 2 * 3 * 16
        for row in range(2):
            for column in range(3):
                top, left = row * (4 + gap), column * (4 + gap)
                part = picture[top : top + 4, left : left + 4]
                assert torch.equal(part, images[row, column].view(4, 4))


def test_images_that_are_no_squares_are_refused():
    with pytest.raises(ValueError, match="8 pixels are not squares of side 2"):
        tiles(torch.zeros(1, 1, 8))
    with pytest.raises(ValueError, match="16 pixels are not squares of side 5"):
        tiles(torch.zeros(1, 1, 16), side=5)
