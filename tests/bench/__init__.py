"""The benchmark: this package and what one would use instead, side by side in one run. `make bench`.

Every figure is the median of several runs, and the runs of what is compared take turns, so that a machine that
gets busy slows all of them. Nothing asserts an absolute time; the targets are ratios within one run.
"""
