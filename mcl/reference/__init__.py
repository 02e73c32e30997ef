"""The method as plain loops, straight from its definitions: slow, to read, to test against and to measure against.

`formulas` and `memory_bank` hold the losses, `unrolled_gradient` the meta round, `training` a whole training. Import
what you need from these files.
"""
