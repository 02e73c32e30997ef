"""How fast a configuration trains on this machine, where the time goes, and which settings would make it faster."""
