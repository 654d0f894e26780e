import sys
from pathlib import Path

# Examples are programs and no package: they find each other as the first one started does.
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
