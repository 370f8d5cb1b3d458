from .checker import Refuted as Refuted
from .checker import check as check
from .content import read_content as read_content
from .strict_json import Unreadable as Unreadable
