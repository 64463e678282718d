"""Serialized TensorRT engines for plans. Experimental: no GPU has run these engines yet.

Engines are built by TensorRT for RTX on any machine, or by TensorRT on the GPU that will run them; tests build them on
the CPU, and compare what TensorRT's parser made of a graph with the graph.
"""
