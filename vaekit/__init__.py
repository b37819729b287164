"""vaekit: the small package behind the course on the variational autoencoder."""

__version__ = "0.1.0"
