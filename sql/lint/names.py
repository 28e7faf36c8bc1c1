"""What `{{ names… }}` stands for while sqlfluff reads the files: the default Config."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "plugins"))

from clickstream.config import Config

globals().update(vars(Config.from_environment({})))
