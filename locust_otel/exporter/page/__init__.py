"""The live page: what it shows of a run, updated each second, without anything from the network."""
