"""Write a short program that runs one artifact without edgeseg: in Python, Kotlin, Swift, C++ or JavaScript."""

from edgeseg.snippets.snippet import write_snippet

__all__ = ["write_snippet"]
