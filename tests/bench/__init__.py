"""The benchmark: this package and what one would use instead, side by side in one run. `make bench`.

Every figure is the median of several runs, and what is compared runs in turns, so that a machine that gets busy slows
all of it. Nothing asserts an absolute time; the targets are ratios within one run.
"""
