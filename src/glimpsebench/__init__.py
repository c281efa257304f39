"""GlimpseBench: how small a part of an image is enough to classify it, and who chooses that part better?

The env is a camera (`glimpsebench.envs`), the agent points it (`glimpsebench.agents`), the bench judges
(`glimpsebench.bench`), and every number on the leaderboard comes from a record on disk.
"""

READER = "glimpsebench.bench.judges:reader_state"
"""module:function, called with a task → the weights of its reader (`envs.predictors`)."""
PREDICTORS = dict.fromkeys(["reader", "random-masks"], "glimpsebench.bench.judges:Reader")
"""Names that an env's `predictor` may have → module:function, called with the task (`envs.predictors`)."""

__version__ = "0.1.0"
