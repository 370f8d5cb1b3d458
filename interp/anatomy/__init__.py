"""The parts that instruments share: components, traces, digit roles and local contexts.

`components` says what can be taken out of a network, `clean_run` what it is replaced by.
`column_trace` computes one answer column with edits, `hook_trace` the same under TransformerLens'
hook names. `roles` names source positions by their digit, `local_context` says what a column's
answer can depend on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
