"""One page about a checkpoint: chapters, and how they are written down.

Start at `page`. `chapters` lists the sections; `model`, `accuracy`, `carry`, `ranks`, `failure`,
`history` and `gallery` make them. `section` keeps a finished one on disk. `html` and `markdown`
write the page, with the help of `inline`, `numbers` and `style`.
"""
