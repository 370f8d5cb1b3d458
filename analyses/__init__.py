"""Studies: which instrument on which checkpoint answers which question, with tables and figures."""
