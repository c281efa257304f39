"""The camera: image sets, tasks, sensors and the Gymnasium environment over them.

Importing this package registers every task with Gymnasium, so that

    import gymnasium, glimpsebench.envs
    env = gymnasium.make("GlimpseBench/digits-clutter-v1")

works without importing anything else.
"""

from glimpsebench.envs.glimpse import GlimpseEnv, GlimpseVectorEnv, register
from glimpsebench.envs.sensors import Crop, Mask, Sensor, Thumbnail, Window
from glimpsebench.envs.tasks import Split, Task

__all__ = [
    "Crop",
    "GlimpseEnv",
    "GlimpseVectorEnv",
    "Mask",
    "Sensor",
    "Split",
    "Task",
    "Thumbnail",
    "Window",
    "register",
]

register()
