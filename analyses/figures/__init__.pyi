from .study import FIGURES as FIGURES
