from .files import SUFFIXES as SUFFIXES
from .files import open_file as open_file
from .foreign import is_write_ups as is_write_ups
from .foreign import read_foreign as read_foreign
