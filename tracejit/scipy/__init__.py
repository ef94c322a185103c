"""The parts of SciPy that programs differentiate and compile: special functions, statistics, linear algebra, ..."""
