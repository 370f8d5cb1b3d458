from .changes import factor_groups as factor_groups
from .changes import fixed_signs as fixed_signs
from .changes import norm_readers as norm_readers
from .changes import random_gauge as random_gauge
