"""The Learn page: what the methods are, metrics worked by hand, pictures to play with, guided lessons."""
