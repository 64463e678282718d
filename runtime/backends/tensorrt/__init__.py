"""The TensorRT backend: targets tensorrt and tensorrt-rtx. Experimental: it has not been run on a GPU yet."""
