"""What the jobs of glue/ are made of."""

import sys

import clickstream_contract
from pyspark import cloudpickle

# Executors are sent the functions themselves, so no path of theirs need hold these packages.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(clickstream_contract)
