"""Which versions of its models a graph can work with, and which are held out of service for it."""
