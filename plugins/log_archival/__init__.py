"""Archive a day's logs into another AWS account, with a role that can add objects and do nothing else."""

__version__ = "0.1.0"
