"""What a child process does to itself before it becomes the program that is not trusted. Standard library only, Linux only."""
