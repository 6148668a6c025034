"""BEiT v2 image classification for ModelScope. Importing this package registers its classes with ModelScope."""

from modelscope_beit.plugin.registration import register

__version__ = "0.1.0"

register()
