"""What holds for every test: a slow machine is no failure, so hypothesis sets no deadlines of its own."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
