"""The workstation side of edgeseg: convert a Keras model and prove the artifact against it."""
