from .describe import describe as describe
from .page import build_page as build_page
from .page import build_part as build_part
from .widget import explore as explore
