"""What the jobs of glue/ are made of."""

import sys

from pyspark import cloudpickle

# Executors are sent the functions themselves, so no path of theirs need hold this package.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
