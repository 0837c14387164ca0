"""What the processes and machines of a sweep share: its storage, its locks, and its claims."""
