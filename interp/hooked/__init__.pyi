from .bottlenecks import BOTTLENECKS as BOTTLENECKS
from .bottlenecks import factors_of as factors_of
from .unwrap import from_hooked as from_hooked
from .wrap import to_hooked as to_hooked
