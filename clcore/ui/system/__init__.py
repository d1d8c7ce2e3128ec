"""The System page: what runs and waits, on which machine, with which data and settings."""
