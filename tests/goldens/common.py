"""Paths and helpers that the golden scripts share."""
import os, sys
HERE = os.path.dirname(os.path.abspath(__file__))
EMOJI = os.path.normpath(os.path.join(HERE, "../../models/emoji"))
