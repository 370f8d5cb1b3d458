from .figures import plot_rates as plot_rates
from .figures import plot_seeds as plot_seeds
from .published import TABLE_1 as TABLE_1
from .published import TABLE_5 as TABLE_5
from .published import TABLE_6 as TABLE_6
from .published import UNNAMED_BELOW as UNNAMED_BELOW
