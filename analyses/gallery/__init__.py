"""Figures of the gallery: each one's data, drawing and caption."""
