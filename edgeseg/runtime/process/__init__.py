"""Run native code on models in a process of its own, where a crash ends that process and not the caller's."""
