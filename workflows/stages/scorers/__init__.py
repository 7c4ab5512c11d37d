"""How a process reward model judges a solution, step by step; stage `score` and others use it."""
