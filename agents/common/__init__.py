"""What contenders share: the base class, networks, training loops and the parts of families of methods."""
