from .certificate import Count as Count
from .certificate import Proof as Proof
from .certificate import certify_network as certify_network
from .instrument import Result as Result
from .instrument import collect as collect
from .instrument import run as run
from .instrument import summarise as summarise
from .instrument import write as write
