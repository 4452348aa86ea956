"""Hypothesis without its time limit for an example, which a busy machine breaks."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
