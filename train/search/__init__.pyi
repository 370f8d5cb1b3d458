from .group import Group as Group
from .parametrisations import PARAMETRISATIONS as PARAMETRISATIONS
from .parametrisations import Parametrisation as Parametrisation
