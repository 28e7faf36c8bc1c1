"""``python -m scripts.java_home``: print the Java 17 that Spark runs on here, if it really runs."""

from __future__ import annotations

import subprocess
import sys

from localaws.spark import java_home


def main() -> int:
    """Print JAVA_HOME; 1 and one sentence when no Java runs."""
    try:
        home = java_home()
        subprocess.run([f"{home}/bin/java", "-version"], capture_output=True, check=True)
    except RuntimeError as error:
        print(f"java: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(
            f"java: {home} does not run ({error}): install a Java 17, or make the environments "
            "anew (make clean-all)",
            file=sys.stderr,
        )
        return 1
    print(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
