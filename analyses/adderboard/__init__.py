"""A checkpoint as a submission to the public AdderBoard, checked by the board's protocol.

`submission` writes a network as one file of plain PyTorch, `study` runs and scores that file.
"""
