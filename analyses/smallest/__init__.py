"""How small can a network be and still be right on all 10^20 pairs?"""
