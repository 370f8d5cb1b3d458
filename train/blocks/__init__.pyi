from .engine import BlockEngine as BlockEngine
from .engine import gpu_blocks_available as gpu_blocks_available
from .layout import fits_block as fits_block
