from .changes import factor_groups as factor_groups
from .changes import fixed_signs as fixed_signs
from .changes import norm_readers as norm_readers
from .changes import random_gauge as random_gauge
from .networks import READERS as READERS
from .networks import balance_network as balance_network
from .networks import random_network_gauge as random_network_gauge
