"""Generation: decoding loop, sampling and streamed text."""
