"""The widget of chapter 11: a point in the latent plane, and the digit that it decodes to."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence

import torch
import traitlets
from torch import Tensor, nn

from vaekit.likelihoods import BernoulliLikelihood
from vaekit.models import VAE
from vaekit.plotting import CLASS_COLORS
from vaekit.widgets.base import Widget, script

_MOST_PARAMETERS = 28_000  # 150 kB of base64 float32: what a page can carry without weighing on it


class LatentPlane(Widget):
    """Drag a point z in the plane of a VAE with K = 2; the decoded image follows.

    The decoder runs in `latent_plane.js`: layers h ← max(0, W h + b), and a sigmoid after the last,
    so the picture shows p(xᵢ = 1|z) for every pixel.

    Parameters
    ----------
    decoder_weights : sequence of (Tensor, Tensor)
        For each layer its weight (out, in) and bias (out,); the first has in = 2. Kept as float32,
        at most 28 000 numbers.
    codes : Tensor
        Codes of test points, shape (N, 2): the background.
    labels : Tensor
        Their classes, 0 to 9, shape (N,): the numeral drawn at each code.
    image_shape : (int, int)
        Rows and columns of an image.
    z : (float, float)
        Where the point starts, within the plane.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a number is not finite, or the decoder is too large.
    traitlets.TraitError
        If z lies outside the plane.
    """

    _esm = script("latent_plane.js")
    plain_text = (
        "Latent plane: open the book's page, or run this cell in Jupyter or Colab, "
        "to drag the point."
    )

    layers = traitlets.List(read_only=True).tag(sync=True)
    codes = traitlets.List(read_only=True).tag(sync=True)
    labels = traitlets.List(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
    # The figures of the course colour the classes with the same list.
    colors = traitlets.List(CLASS_COLORS, read_only=True).tag(sync=True)
    limit = traitlets.Float(read_only=True).tag(sync=True)
    z = traitlets.Tuple(traitlets.Float(), traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        decoder_weights: Sequence[tuple[Tensor, Tensor]],
        codes: Tensor,
        labels: Tensor,
        image_shape: tuple[int, int] = (8, 8),
        z: tuple[float, float] = (0.0, 0.0),
        **widget_options: object,
    ):
        sizes = [2] + [len(bias) for _, bias in decoder_weights]
        shapes = [tuple(weight.shape) for weight, _ in decoder_weights]
        if shapes != list(zip(sizes[1:], sizes[:-1], strict=True)):
            raise ValueError(f"weights (out, in) must chain from 2 latent dimensions, got {shapes}")
        if sizes[-1] != math.prod(image_shape):
            raise ValueError(f"the decoder gives {sizes[-1]} pixels, not {tuple(image_shape)}")
        if codes.ndim != 2 or codes.shape[1] != 2 or labels.shape != codes.shape[:1]:
            raise ValueError(
                "codes must have shape (N, 2) and labels (N,),"
                f" got {tuple(codes.shape)} and {tuple(labels.shape)}"
            )
        numbers = [tensor for layer in decoder_weights for tensor in layer]
        if not all(tensor.isfinite().all() for tensor in [*numbers, codes]):
            raise ValueError("decoder weights and codes must be finite")
        if (count := sum(tensor.numel() for tensor in numbers)) > _MOST_PARAMETERS:
            raise ValueError(
                f"the decoder has {count} parameters; a page carries {_MOST_PARAMETERS} at most"
            )
        # Set before the widget opens, so that its first message holds all.
        # The plane shows three σ of the prior and every code, up to the next half:
        self.set_trait("limit", max(3.0, math.ceil(2 * codes.abs().max().item()) / 2))
        layers = [{"weight": _pack(w), "bias": _pack(b)} for w, b in decoder_weights]
        self.set_trait("layers", layers)
        self.set_trait("codes", [[round(c, 3) for c in code] for code in codes.tolist()])
        self.set_trait("labels", labels.tolist())
        self.set_trait("image_shape", list(image_shape))
        super().__init__(z=z, **widget_options)

    @classmethod
    @torch.no_grad()
    def from_vae(
        cls, vae: VAE, x: Tensor, labels: Tensor, image_shape: tuple[int, int] = (8, 8), **options
    ) -> LatentPlane:
        """Take the decoder from a trained VAE with K = 2, and the posterior means of x as codes.

        Parameters
        ----------
        vae : vaekit.models.VAE
            Bernoulli pixels; the decoder an `mlp` with ReLU.
        x, labels : Tensor
            Test images (N, D) on the model's device, and their classes (N,).
        image_shape, **options
            As for the class.

        Raises
        ------
        ValueError
            If the likelihood is another, or the decoder no plain ReLU network from two dimensions.
        """
        if not isinstance(vae.likelihood, BernoulliLikelihood):
            raise ValueError(f"needs Bernoulli pixels, got {type(vae.likelihood).__name__}")
        kinds = [nn.Linear if i % 2 == 0 else nn.ReLU for i in range(len(vae.decoder))]
        if [type(layer) for layer in vae.decoder] != kinds or kinds[-1] is not nn.Linear:
            raise ValueError("the decoder must alternate Linear and ReLU, and end with Linear")
        weights = [(layer.weight, layer.bias) for layer in vae.decoder[::2]]
        return cls(weights, vae.posterior(x).mean, labels, image_shape, **options)

    @traitlets.validate("z")
    def _within_plane(self, proposal: traitlets.Bunch) -> tuple[float, float]:
        if not all(abs(value) <= self.limit for value in proposal.value):  # refuses NaN too
            raise traitlets.TraitError(
                f"z must lie between −{self.limit:g} and {self.limit:g}, not {proposal.value}"
            )
        return proposal.value


def _pack(tensor: Tensor) -> str:
    """Row by row, little-endian float32, base64: JSON carries it, and the `.js` unpacks it."""
    return b64encode(tensor.detach().cpu().numpy().astype("<f4").tobytes()).decode()
