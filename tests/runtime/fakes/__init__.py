"""A GPU that is not there: cuda-python and TensorRT's module, as far as the runtime uses them.

Work on the stream is done when somebody waits for it, as late as CUDA may; memory is garbage until it is written; every
use of memory that is freed, too short or of the other side is written down as a violation.
"""
