"""Operations of a Paddle 3 program with slow kernels on a CPU, and what replaces them."""
