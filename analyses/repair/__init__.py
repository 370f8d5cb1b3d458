"""Certify, train on what fails, certify again, until nothing fails."""
