from .checker import Refuted as Refuted
from .checker import check as check
