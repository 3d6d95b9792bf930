"""Plans of a ball in mazes: demonstrations, priors that are told start and goal, rewards, execution, pictures."""

from .codec import PathCodec, PathError
from .demonstrations import Demonstrations, demonstrate
from .domain import Trajectories
from .mazes import MAPS, Maze, MazeError, maze
from .planning import Drive, drive
from .prior import PathPrior

__all__ = [
    "MAPS",
    "Demonstrations",
    "Drive",
    "Maze",
    "MazeError",
    "PathCodec",
    "PathError",
    "PathPrior",
    "Trajectories",
    "demonstrate",
    "drive",
    "maze",
]
