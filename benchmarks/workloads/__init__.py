"""The workloads, by subject; importing this registers all of them."""
from benchmarks.workload import SWEPT, WORKLOADS
from benchmarks.workloads import arrays, compiling, indexing, linear_algebra, loops, networks, products, transforms
