"""What the processes of one job use of Paddle: its communicator, and the store through which they find each other."""
