"""Feed every reader of edgeseg with damaged and hostile inputs, and kill what writes: ``scripts/fuzz``."""
