from .bottlenecks import BOTTLENECKS as BOTTLENECKS
from .bottlenecks import factors_of as factors_of
from .bridge import to_bridge as to_bridge
from .either import from_hooked as from_hooked
from .either import to_hooked as to_hooked
