from .memory import padded as padded
from .step import CLIP as CLIP
from .step import N_CONSTANTS as N_CONSTANTS
from .step import PROPAGATE as PROPAGATE
from .step import WEIGHT_DECAY as WEIGHT_DECAY
from .step import StepWriter as StepWriter
