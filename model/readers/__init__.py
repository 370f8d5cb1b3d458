"""Files that other authors published, turned into a layout and effective weights.

`foreign.read_foreign` opens a file and finds its reader; each reader goes by the names of the
tensors that are there, and refuses those that it does not know.
"""
