from .config import PlainSpec as PlainSpec
from .config import Recipe as Recipe
from .config import Shape as Shape
from .run import train_plain as train_plain
from .step import answer_logits as answer_logits
