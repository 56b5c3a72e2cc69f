"""Rules of statements that are Python and wrong; every module here is found by the registry."""
