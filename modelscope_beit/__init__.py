"""BEiT v2 image classification for ModelScope. Importing this package registers its classes with ModelScope."""

__version__ = "0.1.0"
