"""What pages show before anything has been run: problems with closed answers, and a recorded run."""
