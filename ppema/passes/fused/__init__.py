"""The C++ operations that update averages: alone, and together with the weights."""
