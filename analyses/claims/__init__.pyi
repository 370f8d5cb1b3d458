from .check import check as check
from .finding import pair_of as pair_of
from .world import RESULTS as RESULTS
from .world import describe_recipe as describe_recipe
from .world import read_world as read_world
