"""The models that a worker hosts: what their authors wrote, what was loaded, which versions answer."""
