from .describe import describe as describe
from .page import build_page as build_page
