"""A checkpoint as a submission to the public AdderBoard, checked by the board's protocol."""
